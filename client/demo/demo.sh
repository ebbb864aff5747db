#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# make demo: three nodes on loopback take a real day and a simulated fleet, lose a node under load,
# and lose nothing. DEMO_FAST=1: two hours of the fleet, asserts its numbers, stops the cluster.
set -euo pipefail
cd "$(dirname "$0")/../.."
bin=${BB_BIN:-$PWD/build/bin}
busbar=$bin/busbar
fast=${DEMO_FAST:-}
batteries=1000
hours=24
speed=1440 # times real time, so that there is load while things happen: a minute
if [ -n "$fast" ]; then
    hours=2
    speed=480 # 15 seconds
fi
mkdir -p build/demo
dir=$(mktemp -d build/demo/run-XXXXXX)
client=$dir/cluster/client.yaml
day=../shared/data/m5bat-grid-battery/system-and-units-1-10-2023-04-07-1s.csv.gz
fleet_range=(--from 2026-01-01T00:00:00Z --to 2026-01-03T00:00:00Z)
load=0

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] || say() { printf '\n%s\n' "$*"; }
fail() {
    printf 'demo: %s\n' "$*" >&2
    exit 1
}
ms() { echo $(($(date +%s%N) / 1000000)); }
stop() {
    local code=$?
    [ "$load" -gt 0 ] && kill -KILL "$load" 2>/dev/null && wait "$load" 2>/dev/null
    if [ -n "$fast" ] || [ "$code" -ne 0 ]; then
        "$busbar" cluster down "$dir/cluster" >/dev/null 2>&1 || true
        if [ "$code" -eq 0 ]; then rm -rf "$dir"; else printf 'demo: logs are in %s\n' "$dir/cluster/nodes" >&2; fi
    fi
    exit "$code"
}
trap stop EXIT
trap 'exit 130' INT TERM

# Points of the fleet in answers: a count over all batteries and metrics.
readable() {
    "$busbar" -c "$client" query "${fleet_range[@]}" --agg count --group-by none -o csv --timeout 30s "$@" |
        awk -F, 'NR > 1 { n += $3 } END { printf "%d\n", n }'
}
# Points acknowledged so far, from the loader's progress lines.
acknowledged() { awk '/acknowledged/ { n = $4 } END { printf "%d\n", n }' "$dir/load.log"; }
# What was acknowledged before the question must be in the answer.
check() {
    local acked found lost
    acked=$(acknowledged)
    found=$(readable "$@")
    lost=$((acked > found ? acked - found : 0))
    printf '  acknowledged %d, readable %d, lost %d\n' "$acked" "$found" "$lost"
    [ "$lost" -eq 0 ] || fail "lost $lost acknowledged points"
}
in_step() { # all three are up in the same answer that says that nobody lacks anything
    "$busbar" -c "$client" status --timeout 10s -o json | tr ',{' '\n\n' |
        awk -F: '/"lag_chunks"/ { n += $2 } /"up":true/ { up++ } END { exit !(up == 3 && n == 0) }'
}
bytes_per_point() { # points; per copy
    { du -sb --apparent-size "$dir"/cluster/nodes/*/data 2>/dev/null || true; } |
        awk -v p="$1" '{ n += $1 } END { printf "%.2f", n / (p > 0 ? p : 1) / 3 }'
}
timed() { # label, command...
    local label=$1 begin
    shift
    begin=$(ms)
    "$@" >"$dir/answer"
    printf '\n  %s   (%d ms)\n' "$label" $(($(ms) - begin))
    head -n 6 "$dir/answer" | sed 's/^/    /'
}

say "1. Three nodes on loopback: CURVE keys, three copies of everything"
begin=$(ms)
"$busbar" cluster init "$dir/cluster" --name demo --nodes 3 >/dev/null
"$busbar" cluster up "$dir/cluster"
printf '  up after %d ms\n' $(($(ms) - begin))

if [ -r "$day" ]; then
    say "2. A real day: the 6 MW battery of M5BAT, every second of 2023-04-07"
    "$busbar" -c "$client" import "$day" --map tests/integration/maps/m5bat-joint.yaml
else
    say "2. The real day needs ../shared/data, which is not there; going on with the fleet"
fi

day_points=$("$busbar" -c "$client" query --from 2023-01-01T00:00:00Z --to 2024-01-01T00:00:00Z --agg count --group-by none -o csv |
    awk -F, 'NR > 1 { n += $3 } END { printf "%d\n", n }')
say "3. A fleet of $batteries batteries, $hours hours at 10 s, 16 metrics, local_quorum"
: >"$dir/load.log" # looked into before the loader has begun
"$busbar" simulate -c "$client" --batteries "$batteries" --duration "${hours}h" --speed "$speed" --timeout 60s -o json \
    >"$dir/load.json" 2>>"$dir/load.log" &
load=$!
total=$((batteries * hours * 360 * 16))
shown=0
progress() { # prints new lines of the loader, with what a point takes on disk by now (journals too)
    local lines disk
    lines=$(wc -l <"$dir/load.log")
    [ "$lines" -gt "$shown" ] || return 0
    disk=$(bytes_per_point $(($(acknowledged) + day_points)))
    sed -n "$((shown + 1)),${lines}p" "$dir/load.log" | sed "s/^/  /; s/\$/, $disk bytes\/point/"
    shown=$lines
}
wait_for() { # fraction of the load in percent
    while kill -0 "$load" 2>/dev/null && [ "$(acknowledged)" -lt $((total * $1 / 100)) ]; do
        progress
        sleep 0.2
    done
    progress
}
wait_for 25
say "4. kill -9 n2, under load"
"$busbar" cluster kill "$dir/cluster" n2
check
wait_for 50
check
say "5. n2 comes back and catches up, under load"
"$busbar" cluster restart "$dir/cluster" n2
check
begin=$(ms)
code=0
wait_for 100
wait "$load" || code=$?
load=0
progress
[ "$code" -eq 0 ] || fail "the load ended with status $code: $(tail -n 2 "$dir/load.log")"
while ! in_step; do
    [ $(($(ms) - begin)) -lt 120000 ] || fail "n2 is still behind"
    sleep 0.2
done
acked=$(grep -o '"acked_points":[0-9]*' "$dir/load.json" | cut -d: -f2)
[ "$acked" -eq "$total" ] || fail "acknowledged $acked of $total points"
printf '  every copy is in step\n'
for node in n1 n2 n3; do
    found=$(readable --consistency one --node "$node")
    printf '  %s alone: acknowledged %d, readable %d, lost %d\n' "$node" "$acked" "$found" $((acked - found))
    [ "$found" -eq "$acked" ] || fail "$node has $found of $acked points"
done

say "6. Sealed, merged, trimmed"
"$busbar" -c "$client" settle --timeout 120s
points=$("$busbar" -c "$client" query --from 1970-01-01T00:00:00Z --to 2262-01-01T00:00:00Z --agg count --group-by none -o csv |
    awk -F, 'NR > 1 { n += $3 } END { printf "%d\n", n }')
printf '  %d points, %s bytes per point and copy on disk\n' "$points" "$(bytes_per_point "$points")"

say "7. Questions"
timed "last state of charge of every battery" "$busbar" -c "$client" last --metric state_of_charge_pct
timed "one battery, one hour, 15-minute means" "$busbar" -c "$client" query --battery bat-000017 --metric power_kw \
    --from 2026-01-01T00:00:00Z --to 2026-01-01T01:00:00Z --every 15m --agg mean,min,max
timed "power of the whole fleet per hour" "$busbar" -c "$client" query --metric power_kw "${fleet_range[@]}" \
    --every 1h --agg sum,mean --group-by none
if [ -r "$day" ]; then
    timed "grid frequency of the real day, mHz" "$busbar" -c "$client" query --battery m5bat-system --metric Grid_frequency \
        --from 2023-04-07T00:00:00Z --to 2023-04-08T00:00:00Z --agg count,min,mean,max
fi

if [ -n "$fast" ]; then
    say "All of it held: $acked points acknowledged, 0 lost."
    exit 0
fi
say "The cluster stays up. Try:"
cat <<EOF
  export BUSBAR_CONFIG=$PWD/$client
  $busbar status
  $busbar query --battery bat-000001 --from 2026-01-01T00:00:00Z --to 2026-01-01T00:01:00Z
  $busbar cluster kill $dir/cluster n3      # and: $busbar cluster restart $dir/cluster n3
  $busbar query --from 2026-01-01T00:00:00Z --to 2026-01-02T00:00:00Z --every 1h --agg mean --metric power_kw --group-by none
Stop it with:
  $busbar cluster down $dir/cluster && rm -r $dir
EOF
