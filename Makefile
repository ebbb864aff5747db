# SPDX-License-Identifier: Apache-2.0
# The front door. `make demo` and `make test` include dependencies and build.
#   make deps     install the missing Debian packages (root or sudo; nothing when all are there)
#   make          release build: build/bin/{busbar,busbard,busbar-sim}, libraries in build/lib
#   make demo     three nodes, real data, a node killed, nothing lost  (DEMO_FAST=1: under a minute)
#   make test     unit, simulation, model and integration tests
#   make bench    measurements, JSON lines in build/bench.json; a table at the end (docs/benchmarks.md)
#   make bench-peers  the same data in VictoriaMetrics and InfluxDB, side by side (Debian's packages, not installed)
#   make bench-long   the same with a whole day of a million batteries (about an hour)
#   make lint     format, cppcheck, our own rules
#   make soak     long proofs, SOAK_S=seconds (default 600)
.DEFAULT_GOAL := build
# Configures and builds one preset; only a failure is printed in full.
define build_preset
	@mkdir -p build
	@{ cmake --preset $(1) && cmake --build --preset $(1) -j$(JOBS) --target all unit_tests; } >build/$(1).log 2>&1 || \
	    { grep -E -A4 'error|FAILED|Error' build/$(1).log | head -60; echo "building $(1) failed: build/$(1).log"; exit 1; }
endef
PRESET ?= release
JOBS ?= $(shell nproc)
export BB_BIN := $(CURDIR)/build/bin

.PHONY: build deps demo test bench bench-peers bench-long lint soak sanitize install clean

build: deps
	@mkdir -p build
	@test -f build/build.ninja || cmake --preset release >build/configure.log 2>&1 || { cat build/configure.log; exit 1; }
	@cmake --build build -j$(JOBS)

deps:
	@.ci/deps build

demo: build
	@client/demo/demo.sh

test: build
	@.ci/deps test
	@.ci/deps promtool || echo "deps: promtool could not be fetched; its check will be skipped"
	$(call build_preset,dev)
	@/usr/bin/python3 tests/run.py --build build/dev unit sim golden model integration

# Unit and simulation tests under the sanitizers.
sanitize: deps
	@.ci/deps test
	$(call build_preset,asan)
	$(call build_preset,tsan)
	@/usr/bin/python3 tests/run.py --build build/asan --label asan unit sim
	@/usr/bin/python3 tests/run.py --build build/tsan --label tsan unit sim

bench: build
	@/usr/bin/python3 tests/bench/run.py

bench-peers: build
	@/usr/bin/python3 tests/bench/peers.py

bench-long: build
	@BENCH_LONG=1 /usr/bin/python3 tests/bench/run.py

lint: deps
	@.ci/deps lint
	@.ci/lint

soak: build
	@.ci/deps test lint
	$(call build_preset,tsan)
	@/usr/bin/python3 tests/run.py --build build/tsan --label tsan --all unit
	@tests/soak.sh $${SOAK_S:-600}

install: build
	@cmake --install build --prefix $${PREFIX:-/usr/local}

clean:
	@rm -rf build
