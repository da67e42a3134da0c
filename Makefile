# The commands of this project. `make up` and `make test` are all a newcomer needs.

CARGO ?= cargo
# Seconds per fuzz target.
FUZZ_SECONDS ?= 10

.PHONY: up test lint bench perf fuzz autobahn schemathesis test-tools

## up: start manager, PoP and an edge on this machine, with data under ./titan-data
up:
	$(CARGO) run --release --bin titan -- up

## test: run every test, after installing the programs the tests drive
test: test-tools
	$(CARGO) build --workspace --bins
	$(CARGO) test --workspace

## lint: what has to be clean before a commit
lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

## bench: micro-benchmarks
bench:
	$(CARGO) bench -p benches

## perf: measure the whole system beside other programs, with a table and flame graphs
perf:
	perf/run.sh

## fuzz: run every fuzz target for FUZZ_SECONDS; needs a nightly compiler
fuzz:
	proto/fuzz/run.sh $(FUZZ_SECONDS)

## autobahn: judge the WebSocket codec by the Autobahn suite; needs python3 and pip
autobahn:
	proto/autobahn.sh

## schemathesis: judge the manager's API by requests made up from its document; needs python3
schemathesis:
	scripts/schemathesis.sh

test-tools:
	@scripts/install-test-tools.sh
