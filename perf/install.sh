#!/usr/bin/env bash
# Installs what `titan-perf` drives and this machine lacks: Debian's packages, and rathole and
# inferno from the registry into perf/out/tools.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
# haproxy and nginx lie in /usr/sbin, which is not on every user's PATH.
PATH="$PATH:/usr/sbin"

missing=()
for pair in haproxy:haproxy microsocks:microsocks wrk:wrk nginx:nginx-light perf:linux-perf \
    valgrind:valgrind setpriv:util-linux; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
if [ ${#missing[@]} -gt 0 ]; then
    as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || {
            echo "measuring needs ${missing[*]}: install them and try again" >&2
            exit 1
        }
        as_root=(sudo)
    fi
    echo "installing ${missing[*]}"
    "${as_root[@]}" apt-get update -qq
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq \
        --no-install-recommends "${missing[@]}" >/dev/null
fi

tools="$here/out/tools"
# From elsewhere, so that this workspace's settings do not reach into other people's programs.
cd /
# Not --locked: the lock file of rathole 0.5.0 pins a version of the crate `time` that compilers
# since 1.80 refuse.
[ -x "$tools/bin/rathole" ] || cargo install rathole --version 0.5.0 --root "$tools" \
    --no-default-features --features server,client
[ -x "$tools/bin/inferno-flamegraph" ] || cargo install inferno --version 0.12.8 --locked \
    --root "$tools" --no-default-features --features cli,nameattr
