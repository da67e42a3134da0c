#!/usr/bin/env bash
# Runs every fuzz target for SECONDS seconds each: proto/fuzz/run.sh SECONDS [TARGET...]
#
# Inputs that reach new code are kept in corpus/<target>, findings in artifacts/<target>. Needs a
# nightly compiler; installs cargo-fuzz if it is missing.
set -euo pipefail

# cargo-fuzz wants to stand in the package that holds `fuzz`.
cd "$(dirname "$0")/.."
seconds=${1:?usage: run.sh SECONDS [TARGET...]}
shift
export CARGO_TARGET_DIR=$PWD/fuzz/target

if ! cargo +nightly --version >/dev/null 2>&1; then
    echo 'run.sh: fuzzing needs a nightly compiler: rustup toolchain install nightly --profile minimal' >&2
    exit 69
fi
if ! cargo fuzz --version >/dev/null 2>&1; then
    cargo install --quiet --locked cargo-fuzz
fi

# max_len is a little more than the longest head that is accepted, 16 KiB.
run_target() {
    cargo +nightly fuzz run "$1" "fuzz/corpus/$1" "fuzz/seeds/$1" -- -max_total_time="$seconds" \
        -max_len=20000 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1
}

cargo +nightly fuzz build
mapfile -t targets < <(cargo +nightly fuzz list)
for target in "${@:-${targets[@]}}"; do
    mkdir -p "fuzz/corpus/$target"
    log=$CARGO_TARGET_DIR/$target.log
    if ! run_target "$target" >"$log" 2>&1; then
        tail -n 50 "$log" >&2
        echo "run.sh: $target found something, see fuzz/artifacts/$target" >&2
        exit 1
    fi
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    echo "$target: $runs inputs in $seconds s, no finding"
done
