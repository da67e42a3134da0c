#!/usr/bin/env bash
# Installs the programs that the tests drive, where they are missing: curl, nginx and valgrind.
set -euo pipefail

missing=()
command -v curl >/dev/null || missing+=(curl)
command -v valgrind >/dev/null || missing+=(valgrind)
# nginx lies in /usr/sbin, which is not on every user's PATH.
PATH="$PATH:/usr/sbin" command -v nginx >/dev/null || missing+=(nginx-light)
[ ${#missing[@]} -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || {
        echo "the tests need ${missing[*]}: install them and try again" >&2
        exit 1
    }
    as_root=(sudo)
fi
echo "installing ${missing[*]}"
"${as_root[@]}" apt-get update -qq
DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
