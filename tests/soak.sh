#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tests/soak.sh SECONDS: long proofs, bounded in time. Half of it goes to the simulator with fresh
# seeds, a quarter to the fuzzers (clang), the rest to kills and restarts of real processes.
# What fails is shown with its seed; the last line is `N passed, M failed, K skipped`.
set -uo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-600}
case $seconds in '' | *[!0-9]*) echo "usage: tests/soak.sh SECONDS" >&2; exit 2 ;; esac
bin=${BB_BIN:-$PWD/build/bin}
export BB_BIN=$bin
shared=$(dirname "$PWD")/shared
[ -d "$shared" ] && export BB_SHARED=${BB_SHARED:-$shared}
passed=0 failed=0 skipped=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
begin=$SECONDS
left() { echo $((seconds * $1 / 100 - (SECONDS - begin))); } # until that percentage of the time

ok() { passed=$((passed + 1)); }
bad() {
    failed=$((failed + 1))
    printf 'not ok - %s\n' "$1"
    tail -n 20 "$work/log" | sed 's/^/    /'
}
skip() {
    skipped=$((skipped + 1))
    printf 'skip - %s\n' "$1"
}

echo "== simulator: fresh seeds until $((seconds / 2)) s"
if [ -x "$bin/busbar-sim" ]; then
    first=$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')
    workers=$(nproc) batch=50
    echo "first seed $first, $workers at a time"
    simulate() { # worker: every workers-th batch of seeds from its own on
        local seed=$((first + $1 * batch))
        while [ "$(left 50)" -gt 0 ]; do
            timeout 600 "$bin/busbar-sim" --seeds "$seed..$((seed + batch - 1))" >"$work/batch.$1" 2>&1
            local code=$?
            cat "$work/batch.$1" >>"$work/sim.$1"
            [ "$code" -gt 1 ] && echo "seeds from $seed on ended with status $code result=FAIL" >>"$work/sim.$1"
            seed=$((seed + workers * batch))
        done
    }
    sim_begin=$SECONDS
    for worker in $(seq 0 $((workers - 1))); do simulate "$worker" & done
    wait
    passed=$((passed + $(cat "$work"/sim.* | grep -c 'result=ok')))
    if cat "$work"/sim.* | grep -v 'result=ok' >"$work/log"; then
        failed=$((failed + $(grep -c 'result=FAIL' "$work/log")))
        sed 's/^/    /' "$work/log"
    fi
    cat "$work"/sim.* | awk -v seconds=$((SECONDS - sim_begin)) -v workers="$workers" '
        match($0, / events=[0-9]+/) { seeds++; events += substr($0, RSTART + 8, RLENGTH - 8) }
        END { printf "%d seeds, %.1f M events in %.2f h of processor time: %d events/s a core\n",
              seeds, events / 1e6, seconds * workers / 3600, events / (seconds * workers + 0.001) }'
else
    skip "simulator: busbar-sim is not built"
fi

if [ -x "$bin/busbar-sim" ]; then
    echo "== planted bugs, each within 500 seeds"
    for plant in $("$bin/busbar-sim" --plants); do
        timeout 600 "$bin/busbar-sim" --count 500 --stop --plant "$plant" >"$work/log" 2>&1
        if [ $? -eq 1 ]; then
            ok
            echo "$plant: $(tail -n 1 "$work/log" | cut -d' ' -f1)"
        else
            bad "planted bug $plant is not found"
        fi
    done
    if command -v clang >/dev/null && cmake -S . -B build/clang-O0 -G Ninja -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_COMPILER=clang \
        -DCMAKE_CXX_COMPILER=clang++ "-DCMAKE_C_FLAGS_DEBUG=-O0" "-DCMAKE_CXX_FLAGS_DEBUG=-O0" >"$work/log" 2>&1 &&
        cmake --build build/clang-O0 --target busbar-sim >"$work/log" 2>&1; then
        echo "== the same traces of Clang -O0, 100 seeds"
        "$bin/busbar-sim" --seeds "$first..$((first + 99))" >"$work/one" 2>&1
        build/clang-O0/bin/busbar-sim --seeds "$first..$((first + 99))" >"$work/log" 2>&1
        if cmp -s "$work/one" "$work/log"; then ok; else bad "Clang -O0 has other traces from seed $first on"; fi
    else
        skip "the same traces of Clang -O0: $(tail -n 1 "$work/log")"
    fi
fi

echo "== fuzzers until $((seconds * 3 / 4)) s"
if command -v clang >/dev/null && cmake --preset fuzz >"$work/log" 2>&1 && cmake --build --preset fuzz >"$work/log" 2>&1; then
    names=$(cd tests/fuzz && ls fuzz_*.c | sed 's/\.c$//')
    count=$(wc -w <<<"$names")
    share=$(($(left 75) / count))
    for name in $names; do
        if tests/fuzz/run.sh "${name#fuzz_}" $((share > 1 ? share : 1)) >"$work/log" 2>&1; then
            ok
            cat "$work/log"
        else
            bad "$name (what it found is under build/fuzz/findings)"
        fi
    done
else
    skip "fuzzers: clang with libFuzzer is needed ($(tail -n 1 "$work/log"))"
fi

echo "== 1,000 flipped bits of each kind of file"
if [ -x "$bin/busbar-inspect" ] && [ -x "$bin/busbard" ]; then
    BB_FLIPS=1000 BB_SEED=$RANDOM timeout 900 /usr/bin/python3 tests/integration/test_inspect.py >"$work/log" 2>&1
    code=$?
    passed=$((passed + $(grep -c '^ok - ' "$work/log")))
    found=$(grep -c '^not ok - ' "$work/log")
    [ "$code" -ne 0 ] && [ "$found" -eq 0 ] && found=1
    failed=$((failed + found))
    [ "$found" -gt 0 ] && grep -v '^ok - ' "$work/log" | sed 's/^/    /'
else
    skip "flipped bits: the programs are not built"
fi

echo "== ten times the capacity for 60 s"
if [ -x "$bin/busbar-bench" ] && [ -x "$bin/busbard" ]; then
    BB_STORM_S=60 timeout 300 /usr/bin/python3 tests/integration/test_storm.py >"$work/log" 2>&1
    code=$?
    passed=$((passed + $(grep -c '^ok - ' "$work/log")))
    found=$(grep -c '^not ok - ' "$work/log")
    [ "$code" -ne 0 ] && [ "$found" -eq 0 ] && found=1
    failed=$((failed + found))
    grep '^# storm' "$work/log" | cut -c3-
    [ "$found" -gt 0 ] && grep -v '^ok - ' "$work/log" | sed 's/^/    /'
else
    skip "a storm: the programs are not built"
fi

echo "== real processes until $seconds s"
if [ -x "$bin/busbar" ] && [ -x "$bin/busbard" ]; then
    rounds=0
    while [ "$rounds" -eq 0 ] || [ "$(left 100)" -gt 60 ]; do
        rounds=$((rounds + 1))
        timeout 900 /usr/bin/python3 tests/integration/test_failover.py >"$work/log" 2>&1
        code=$?
        passed=$((passed + $(grep -c '^ok - ' "$work/log")))
        found=$(grep -c '^not ok - ' "$work/log")
        [ "$code" -ne 0 ] && [ "$found" -eq 0 ] && found=1
        failed=$((failed + found))
        [ "$found" -gt 0 ] && { echo "round $rounds:"; grep -v '^ok - ' "$work/log" | sed 's/^/    /'; }
    done
    echo "$rounds rounds of kills and restarts"
else
    skip "real processes: the programs are not built"
fi

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
