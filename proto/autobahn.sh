#!/usr/bin/env bash
# Judges the WebSocket codec by the Autobahn suite: runs the echo server of examples/ws_echo.rs
# against every case of sections 1 to 10 (12 and 13 are about compression, which we do not speak),
# prints how many cases behaved in which way, and fails unless all are OK, NON-STRICT or
# INFORMATIONAL. The full report is target/autobahn/reports/index.html.
#
# The suite is written in Python 2.7: name an interpreter in PYTHON2 unless one is found in PATH or
# in pyenv (`pyenv install 2.7.18`). Everything else comes from PyPI and is kept under target/.
set -euo pipefail

cd "$(dirname "$0")/.."
work=${CARGO_TARGET_DIR:-$PWD/target}/autobahn
readonly suite='autobahntestsuite==25.10.1'
readonly limit_seconds=600

find_python2() {
    local candidate
    for candidate in "${PYTHON2:-}" python2.7 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/2.7.*/bin/python; do
        if [[ -n $candidate ]] && "$candidate" -c 'import sys; assert sys.version_info[:2] == (2, 7)' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    echo 'autobahn.sh: no Python 2.7 found; install one (pyenv install 2.7.18) and name it in PYTHON2' >&2
    return 1
}

install_suite() {
    [[ -x $work/venv/bin/wstest ]] && return
    local python
    python=$(find_python2)
    rm -rf "$work/venv"
    mkdir -p "$work"
    # The last virtualenv that makes environments for Python 2.7.
    PIP_DISABLE_PIP_VERSION_CHECK=1 "$python" -m pip install --quiet --target "$work/virtualenv" 'virtualenv<20.22' 2>&1 |
        grep -v DEPRECATION || true
    PYTHONPATH=$work/virtualenv "$python" -m virtualenv --quiet "$work/venv"
    "$work/venv/bin/pip" --disable-pip-version-check install --quiet "$suite" 2>&1 | grep -v DEPRECATION || true
    [[ -x $work/venv/bin/wstest ]]
}

# Ends what this script started, however it ends itself.
started=()
stop_all() {
    for pid in "${started[@]}"; do
        kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null || true
    done
}
trap stop_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Starts the echo server on a free port; sets `address`.
start_server() {
    cargo build --quiet -p titan-proto --example ws_echo
    "${CARGO_TARGET_DIR:-target}/debug/examples/ws_echo" 127.0.0.1:0 >"$work/server.log" 2>&1 &
    started+=($!)
    for _ in {1..100}; do
        address=$(sed -n 's/^listening on //p' "$work/server.log")
        [[ -n $address ]] && return
        sleep 0.05
    done
    echo 'autobahn.sh: the echo server did not start' >&2
    return 1
}

run_suite() {
    rm -rf "$work/reports"
    cat >"$work/spec.json" <<JSON
{
  "outdir": "$work/reports",
  "servers": [{"agent": "titan", "url": "ws://$address"}],
  "cases": ["*"],
  "exclude-cases": ["12.*", "13.*"],
  "exclude-agent-cases": {}
}
JSON
    timeout "$limit_seconds" "$work/venv/bin/wstest" -m fuzzingclient -s "$work/spec.json" >"$work/suite.log" 2>&1 &
    started+=($!)
    if ! wait $!; then
        tail -n 20 "$work/suite.log" >&2
        return 1
    fi
}

# Counts the behaviours, of the messages and of the closing handshake alike.
judge() {
    "$work/venv/bin/python" - "$work/reports/index.json" <<'PYTHON'
import collections, json, sys

cases = json.load(open(sys.argv[1]))["titan"]
accepted = {"OK", "NON-STRICT", "INFORMATIONAL"}
for part in ("behavior", "behaviorClose"):
    counts = collections.Counter(case[part] for case in cases.values())
    print("%-13s %d cases: %s" % (part, len(cases), ", ".join("%d %s" % (n, b) for b, n in counts.most_common())))
bad = sorted(name for name, case in cases.items() if not {case["behavior"], case["behaviorClose"]} <= accepted)
for name in bad:
    print("case %s: %s, close %s" % (name, cases[name]["behavior"], cases[name]["behaviorClose"]))
sys.exit(1 if bad or not cases else 0)
PYTHON
}

install_suite
start_server
run_suite
judge
