#!/usr/bin/env bash
# HAProxy in TCP mode with one thread: the plain relay, the least that any proxy must do.
# kind: relay
set -euo pipefail

read -r source_port sink_port echo_port answer_port _ <<<"$TITAN_PERF_PORTS"
config="$TITAN_PERF_DIR/haproxy.cfg"
{
    cat <<EOF
global
    nbthread 1
defaults
    mode tcp
    timeout connect 10s
    timeout client 10m
    timeout server 10m
EOF
    for service in "source $source_port $TITAN_PERF_SOURCE" "sink $sink_port $TITAN_PERF_SINK" \
        "echo $echo_port $TITAN_PERF_ECHO" "answer $answer_port $TITAN_PERF_ANSWER"; do
        read -r name port target <<<"$service"
        printf 'listen %s\n    bind 127.0.0.1:%s\n    server target %s\n' "$name" "$port" "$target"
    done
} >"$config"

PATH="$PATH:/usr/sbin" haproxy -db -f "$config" >&2 &
haproxy=$!
trap 'kill $haproxy 2>/dev/null; wait; exit 0' TERM INT EXIT

cat <<EOF
{"roles": {"relay": [$haproxy]}, "via": {"kind": "direct"}, "endpoints": {"source": "127.0.0.1:$source_port", "sink": "127.0.0.1:$sink_port", "echo": "127.0.0.1:$echo_port", "answer": "127.0.0.1:$answer_port"}}
EOF
# The input ends when we are to end.
cat >/dev/null
