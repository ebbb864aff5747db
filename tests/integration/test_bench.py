#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The benchmarks run, at their smallest size: every figure of the table is there, no answer was
wrong, nothing acknowledged was lost, and the exit status says so. Says nothing about speed."""
import json
import math
import os
import subprocess
import sys
import tempfile

import cluster
from cluster import ROOT, case, expect

sys.path.insert(0, os.path.join(ROOT, "tests/bench"))
import table  # noqa: E402 - found by the line above

NEEDS_DATA = {"bytes_per_point_m5bat"}
NEEDS_GENERATOR = {row.name for row in table.ROWS if row.name.startswith("million_")}
ONLY_LONG = {"million_batteries_bytes_ratio"}


def main():
    shared = os.environ.get("BB_SHARED") or os.path.join(ROOT, "../shared")
    wanted = {row.name for row in table.ROWS} - ONLY_LONG
    parts = ["machine", "engine", "journal", "native", "crash", "latency", "replication", "text"]
    if os.path.isdir(os.path.join(shared, "data/m5bat-grid-battery")):
        parts.append("m5bat")
    else:
        wanted -= NEEDS_DATA
        cluster.skip("bytes per point of m5bat", "the folder shared/data is not there")
    if os.path.isfile(os.path.join(shared, "bench/gen.c")):
        parts.append("million")
    else:
        wanted -= NEEDS_GENERATOR
        cluster.skip("a large fleet", "the folder shared/bench is not there")
    with tempfile.NamedTemporaryFile("r", suffix=".json") as results:
        environment = {**os.environ, "BENCH_SIZE": "hour", "BENCH_ONLY": ",".join(parts),
                       "BENCH_RESULTS": results.name, "BB_BIN": cluster.BIN, "BB_SHARED": shared}
        done = subprocess.run([sys.executable, os.path.join(ROOT, "tests/bench/run.py")], env=environment,
                              capture_output=True, timeout=600, check=False)
        values = {}
        with open(results.name, encoding="utf-8") as lines:
            for line in lines:
                record = json.loads(line)
                values[record["name"]] = record["value"]
    with case("the smallest benchmark ends well: every answer in it was right"):
        expect(done.returncode == 0, f"status {done.returncode}: {done.stderr.decode()[-800:]}")
    with case("every figure of the table is measured"):
        missing = sorted(wanted - set(values))
        expect(not missing, f"not there: {', '.join(missing)}")
        odd = sorted(n for n, v in values.items() if not math.isfinite(v) or v < 0)
        expect(not odd, f"negative or not finite: {', '.join(odd)}")
    with case("a node killed in the middle of the load lost nothing acknowledged"):
        expect(values.get("acked_lost_points") == 0, f"lost: {values.get('acked_lost_points')}")
    with case("the table is printed"):
        expect(b"best peer" in done.stdout, done.stdout.decode()[-400:])
    cluster.finish()


if __name__ == "__main__":
    main()
