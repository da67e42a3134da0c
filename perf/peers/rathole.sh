#!/usr/bin/env bash
# rathole with microsocks behind it: a tunnel with a SOCKS5 proxy at its far end.
# kind: tunnel
set -euo pipefail

read -r proxy_port socks_port _ <<<"$TITAN_PERF_PORTS"
# Each further service is one more control channel, idle.
services() { # side key
    local i
    for ((i = 0; i < TITAN_PERF_TUNNELS; i++)); do
        printf '[%s.services.idle%d]\n' "$1" "$i"
        if [ "$1" = server ]; then
            printf 'bind_addr = "127.2.%d.%d:4000"\n' $((i / 250)) $((i % 250 + 1))
        else
            printf 'local_addr = "127.0.0.1:%s"\n' "$socks_port"
        fi
    done
}
server="$TITAN_PERF_DIR/server.toml"
client="$TITAN_PERF_DIR/client.toml"
{
    printf '[server]\nbind_addr = "%s"\ndefault_token = "perf"\n' "$TITAN_PERF_TUNNEL_LISTEN"
    printf '[server.services.socks]\nbind_addr = "127.0.0.1:%s"\n' "$proxy_port"
    services server
} >"$server"
{
    printf '[client]\nremote_addr = "%s"\ndefault_token = "perf"\n' "$TITAN_PERF_TUNNEL_DIAL"
    printf '[client.services.socks]\nlocal_addr = "127.0.0.1:%s"\n' "$socks_port"
    services client
} >"$client"

export RUST_LOG=error
microsocks -i 127.0.0.1 -p "$socks_port" -u perf -P perf-password >/dev/null 2>&1 &
microsocks=$!
"$TITAN_PERF_TOOLS/rathole" --server "$server" >&2 &
rathole_server=$!
"$TITAN_PERF_TOOLS/rathole" --client "$client" >&2 &
rathole_client=$!
trap 'kill $rathole_client $rathole_server $microsocks 2>/dev/null; wait; exit 0' TERM INT EXIT

cat <<EOF
{"roles": {"server": [$rathole_server], "client": [$rathole_client], "socks": [$microsocks]}, "via": {"kind": "socks5", "proxy": "127.0.0.1:$proxy_port", "login": {"user": "perf", "password": "perf-password"}}}
EOF
# The input ends when we are to end.
cat >/dev/null
