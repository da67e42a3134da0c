#!/usr/bin/env bash
# Judges the manager's API by Schemathesis: thousands of requests made up from the OpenAPI document, good ones and
# broken ones, each of whose answers must be one that the document announces, and none a fault of the server's.
# Starts a manager of its own on a free port, with its data in a folder that goes with it.
#
# Needs python3 with venv; Schemathesis comes from PyPI and is kept under target/. SCHEMATHESIS_EXAMPLES is the number
# of made-up requests for each operation (default 50: half a minute).
set -euo pipefail

cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
work=$target/schemathesis
readonly suite='schemathesis==4.32.5'
readonly examples=${SCHEMATHESIS_EXAMPLES:-50}

if [[ ! -x $work/venv/bin/schemathesis ]]; then
    mkdir -p "$work"
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" --disable-pip-version-check install --quiet "$suite"
fi

data=$(mktemp -d)
manager=
# Ends what this script started, however it ends itself.
stop_all() {
    [[ -n $manager ]] && kill "$manager" 2>/dev/null && wait "$manager" 2>/dev/null
    rm -rf "$data"
}
trap stop_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

cargo build --quiet -p titan-manager
# No limit on the rate: the suite has one token, and 429 would hide everything else.
"$target/debug/titan-manager" --listen 127.0.0.1:0 --store "embedded:$data/manager.redb" \
    --admin-token-file "$data/admin-token" --token-requests-per-s 1000000 --log-format json 2>"$data/log" &
manager=$!
url=
for _ in {1..100}; do
    url=$(sed -n 's/.*"address":"\([^"]*\)".*/http:\/\/\1/p' "$data/log")
    [[ -n $url ]] && break
    sleep 0.05
done
[[ -n $url ]] || { echo 'schemathesis.sh: the manager did not start' >&2; cat "$data/log" >&2; exit 1; }

# PoPs have a credential of their own, so what they ask is left out. Of the checks two are: positive_data_acceptance,
# because a request may fit the schema and yet not what the store holds (a name that is taken), and
# ensure_resource_availability, because a repeated answer tells of what was made then and may be gone since.
# The suite keeps its notes in the folder it runs in.
cd "$work"
venv/bin/schemathesis run "$url/api/v1/openapi.json" \
    --header "Authorization: Bearer $(<"$data/admin-token")" \
    --exclude-path-regex '^/api/v1/pop/' \
    --checks all --exclude-checks positive_data_acceptance,ensure_resource_availability \
    --max-examples "$examples" --seed 1 --no-color
