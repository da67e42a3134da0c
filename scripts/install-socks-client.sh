#!/usr/bin/env bash
# Installs PySocks, a SOCKS5 client that people use, and dnslib, from which the tests make a DNS
# server, into the folder $1, unless they lie there already. Needs python3 with pip.
set -euo pipefail

to=$1
PYTHONPATH=$to python3 -c 'import dnslib, socks' 2>/dev/null && exit 0
mkdir -p "$(dirname "$to")"
# Into place at once: another run may look at the same time.
part=$(mktemp -d "$to.XXXXXX")
trap 'rm -rf "$part"' EXIT
python3 -m pip --disable-pip-version-check install --quiet --no-deps --target "$part" \
    PySocks==1.7.1 dnslib==0.9.26
rm -rf "$to"
mv -T "$part" "$to"
