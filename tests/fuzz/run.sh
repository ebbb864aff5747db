#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tests/fuzz/run.sh TARGET|all|list SECONDS [BUILD]: runs one decoder's fuzzer, or each in turn.
#
# BUILD is the build tree of preset fuzz (build/fuzz); the programs must have been built. Seeds are
# tests/fuzz/corpus/TARGET and the golden files; what is found of interest is kept under
# BUILD/corpus/TARGET, so that a later run goes on where this one ended. BB_FUZZ_COPY=1 runs a copy
# of the program, so that the tree can be rebuilt meanwhile.
#
# A finding is kept under BUILD/findings, made small, and shown with the place where it happened.
# One line a target: `TARGET minutes=M executions=N edges=E findings=F`. Exit status: 0 nothing
# found, 1 a finding, 2 usage or a program that is not there.
set -uo pipefail
cd "$(dirname "$0")/../.."
target=${1:-} seconds=${2:-} build=${3:-build/fuzz}
usage() {
    sed -n '3,15s/^# \{0,1\}//p' tests/fuzz/run.sh >&2
    exit 2
}
names=$(cd tests/fuzz && ls fuzz_*.c | sed 's/^fuzz_//; s/\.c$//')
[ "$target" = list ] && { echo "$names"; exit 0; }
case $seconds in '' | *[!0-9]*) usage ;; esac
if [ "$target" != all ]; then
    grep -qx -- "$target" <<<"$names" || usage
    names=$target
fi

# The place in our code, and the smallest input that still leads there.
triage() {
    local name=$1 program=$2 input=$3 log=$4
    echo "finding: $name: $input ($(wc -c <"$input") bytes)"
    grep -m1 -E 'ERROR: |runtime error|assertion|ASSERT' "$log"
    grep -E '^ +#[0-9]+ ' "$log" | grep -v -E 'fuzzer::|libc_start|in __(asan|ubsan|interceptor)' |
        head -n 8
    timeout 60 "$program" -minimize_crash=1 -runs=20000 -max_total_time=30 \
        -exact_artifact_path="$input.small" "$input" >/dev/null 2>&1
    [ -s "$input.small" ] && input=$input.small
    echo "input, for a unit test:"
    od -An -v -tx1 "$input" | head -n 24
}

run() {
    local name=$1 program=$build/bin/fuzz_$1 corpus=$build/corpus/$1
    local found=$build/findings/$name log=$build/findings/$name.log
    [ -x "$program" ] || { echo "run.sh: $program is not built" >&2; return 2; }
    mkdir -p "$corpus" "$build/findings"
    if [ -n "${BB_FUZZ_COPY:-}" ]; then
        cp "$program" "$build/findings/fuzz_$name" && program=$build/findings/fuzz_$name
    fi
    local seeds=("$corpus")
    for folder in "tests/fuzz/corpus/$name" tests/golden/wire tests/golden/disk; do
        [ -d "$folder" ] && seeds+=("$folder")
    done
    local words=()
    [ -f "tests/fuzz/corpus/$name.words" ] && words=("-dict=tests/fuzz/corpus/$name.words")
    local before
    before=$(ls "$found"-* 2>/dev/null | wc -l)
    timeout $((seconds + 120)) nice -n 19 "$program" -max_total_time="$seconds" -max_len=65536 \
        -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="$found-" \
        "${words[@]}" "${seeds[@]}" >"$log" 2>&1
    local code=$? count
    count=$(($(ls "$found"-* 2>/dev/null | grep -v '\.small$' | wc -l) - before))
    [ "$code" -ne 0 ] && [ "$count" -eq 0 ] && count=1
    echo "$name minutes=$((seconds / 60)) executions=$(awk '/number_of_executed_units/ { print $NF }' "$log")" \
        "edges=$(grep -o 'cov: [0-9]*' "$log" | tail -n 1 | tr -dc 0-9) findings=$count"
    if [ "$count" -gt 0 ]; then
        for input in $(ls -t "$found"-* 2>/dev/null | grep -v '\.small$' | head -n "$count"); do
            triage "$name" "$program" "$input" "$log"
        done
        return 1
    fi
}

status=0
for name in $names; do
    run "$name"
    code=$?
    [ "$code" -gt "$status" ] && status=$code
done
exit "$status"
