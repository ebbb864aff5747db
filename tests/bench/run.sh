#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# make bench: prints JSON lines and writes them into build/bench.json.
#   BENCH_HOURS=N  hours of the yardstick (default 24, under 2 minutes and 3 GB of memory on 2 idle cores)
# The yardstick's generator is taken from ../shared/bench where it is present; else the project's own
# fleet serves and the lines say so.
set -euo pipefail
cd "$(dirname "$0")/../.."
bin=${BB_BIN:-$PWD/build/bin}
hours=${BENCH_HOURS:-24}
dir=$(mktemp -d build/bench-XXXXXX)
results=build/bench.json
trap 'for c in "$dir"/one "$dir"/three; do "$bin/busbar" cluster down "$c" >/dev/null 2>&1 || true; done; rm -rf "$dir"' EXIT
rm -f "$results"

data=(--hours "$hours")
source=own_fleet
if [ -r ../shared/bench/gen.c ]; then
    cc -O2 -o "$dir/gen" ../shared/bench/gen.c -lm
    "$dir/gen" -m raw -n 1000 -s 10000 -t $((hours * 3600)) -o "$dir/yardstick-%d.raw" 2>/dev/null
    data=(--data "$dir/yardstick-0.raw")
    source=yardstick
fi
echo "{\"name\":\"bench_data_hours\",\"value\":$hours,\"unit\":\"h\",\"note\":\"$source, 1,000 batteries, 12 metrics, 10 s\"}" |
    tee -a "$results"

"$bin/busbar-bench" machine "$dir" --results "$results"
"$bin/busbar-bench" engine "$dir" "${data[@]}" --results "$results"
for setup in "one 1 " "three 3 _3node"; do
    read -r name nodes suffix <<<"$setup"
    "$bin/busbar" cluster init "$dir/$name" --nodes "$nodes" >/dev/null
    "$bin/busbar" cluster up "$dir/$name" >/dev/null
    "$bin/busbar-bench" cluster "$dir/$name" "$bin/busbar" "${suffix:-}" "${data[@]}" --results "$results"
    "$bin/busbar" cluster down "$dir/$name" >/dev/null
    rm -rf "${dir:?}/$name"
done
