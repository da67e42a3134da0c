#!/usr/bin/env bash
# Installs what the tests drive, where it is missing: curl, nginx, valgrind, Redis, and a SOCKS5
# client in Python, which is kept under target/.
set -euo pipefail

missing=()
command -v curl >/dev/null || missing+=(curl)
command -v valgrind >/dev/null || missing+=(valgrind)
# nginx lies in /usr/sbin, which is not on every user's PATH.
PATH="$PATH:/usr/sbin" command -v nginx >/dev/null || missing+=(nginx-light)
command -v redis-server >/dev/null || missing+=(redis-server)
command -v redis-cli >/dev/null || missing+=(redis-tools)
python3 -m pip --version >/dev/null 2>&1 || missing+=(python3 python3-pip)
install_socks_client() {
    local target=${CARGO_TARGET_DIR:-$(dirname "$0")/../target}
    "$(dirname "$0")/install-socks-client.sh" "$target/test-tools/python"
}
[ ${#missing[@]} -eq 0 ] && install_socks_client && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || {
        echo "the tests need ${missing[*]}: install them and try again" >&2
        exit 1
    }
    as_root=(sudo)
fi
echo "installing ${missing[*]}"
# The tests start servers of their own; the package's would take port 6379. 101: not allowed (Debian policy-rc.d).
policy=/usr/sbin/policy-rc.d
if [[ " ${missing[*]} " == *" redis-server "* && ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
    "${as_root[@]}" chmod 755 "$policy"
    trap '"${as_root[@]}" rm -f "$policy"' EXIT
fi
"${as_root[@]}" apt-get update -qq
DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
install_socks_client
