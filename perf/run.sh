#!/usr/bin/env bash
# Everything `make perf` does: installs what is missing, builds, measures, shows.
# Arguments go to `titan-perf run`.
set -euo pipefail
cd "$(dirname "$0")/.."

perf/install.sh
cargo build --release --bins -p titan-manager -p titan-pop -p titan-edge -p titan-perf
perf="${CARGO_TARGET_DIR:-target}/release/titan-perf"
"$perf" run "$@"
"$perf" show perf/out/report.json --charts perf/out/charts >/dev/null
"$perf" counts
"$perf" flame
