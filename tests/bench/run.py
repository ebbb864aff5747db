#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""make bench: measures, writes JSON lines into build/bench.json, prints the table.

  BENCH_HOURS=N     hours of the yardstick (default 24: a day of 1,000 batteries, 103.68 M points)
  BENCH_SIZE=hour   the smallest size, for CI: proves that everything runs
  BENCH_ONLY=a,b    some of: machine engine journal native latency text crash m5bat million three
                    replication
  BENCH_CATCHUP_HOURS=N  hours that a node misses (default 2 of 4.32 M points; 12: 51.8 M points)
  BENCH_RESULTS=F   another file than build/bench.json
  BENCH_LONG=1      a whole day of the million batteries (make bench-long)

Every figure of one kind comes from the same run of the same build; several runs give the median.
CPU time is read from /proc. What exactly is measured stands in the note of each line and in
docs/benchmarks.md. The status is 1 when something could not be measured or an answer was wrong; a
target that is missed is no failure.
"""
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import replication
import table
from yardstick import BENCH, M5BAT, ROOT, SHARED, Broken, Cluster, Generator

SMALL = os.environ.get("BENCH_SIZE") == "hour"
HOURS = 1 if SMALL else int(os.environ.get("BENCH_HOURS", "24"))
LONG = os.environ.get("BENCH_LONG") == "1"
ONLY = [word for word in os.environ.get("BENCH_ONLY", "").split(",") if word]
REPEATS = 1 if SMALL else 3
MILLION_MEMORY = "4GiB"  # memory_bytes of the node of the million batteries, and of the thousand
RESULTS = os.environ.get("BENCH_RESULTS", os.path.join(ROOT, "build/bench.json"))


class Book:
    """The results so far; every line goes to standard output and to build/bench.json at once."""

    def __init__(self):
        self.values = {}
        self.problems = []
        with open(RESULTS, "w", encoding="utf-8"):
            pass

    def add(self, name, value, unit, note=None):
        self.values[name] = value
        record = {"name": name, "value": float(f"{value:.6g}"), "unit": unit}
        if note:
            record["note"] = note
        line = json.dumps(record)
        print(line, flush=True)
        with open(RESULTS, "a", encoding="utf-8") as out:
            out.write(line + "\n")

    def add_all(self, records):
        for name, (value, unit, note) in records.items():
            self.add(name, value, unit, note)


def bench(*words, stdin=None):
    """Runs busbar-bench; {name: (value, unit, note)}."""
    with tempfile.NamedTemporaryFile("r", suffix=".json") as out:
        done = subprocess.run([BENCH, *words, "--results", out.name], stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, stdin=stdin, check=False)
        if done.returncode != 0:
            raise Broken(f"busbar-bench {words[0]}: {done.stderr.decode(errors='replace')[-600:]}")
        records = [json.loads(line) for line in out.read().splitlines()]
    return {r["name"]: (r["value"], r["unit"], r.get("note")) for r in records}


def medians(runs):
    """Of several runs' records; the note says how many."""
    out = {}
    for name, (_, unit, note) in runs[-1].items():
        values = [run[name][0] for run in runs if name in run]
        if len(values) > 1:
            note = f"median of {len(values)}" + (f"; {note}" if note else "")
        out[name] = (statistics.median(values), unit, note)
    return out


def disk(cluster, points):
    """Bytes per point and copy, and the words that go with it."""
    used, spare = cluster.disk()
    return used / points / cluster.nodes, f"settled, everything in the data folder; empty journal files apart: {spare / 1e6:.0f} MB"


class Run:
    def __init__(self, folder, book):
        self.folder = folder
        self.book = book
        self.generator = Generator(folder)
        self.cache = {}

    def data(self, hours):
        """Options for busbar-bench with that much of the yardstick; made once."""
        if hours not in self.cache:
            for old in self.cache.values():
                if old[0] == "--data":
                    os.unlink(old[1])
            self.cache = {hours: self.generator.raw(os.path.join(self.folder, f"yardstick-{hours}h.raw"), hours)}
        return self.cache[hours]

    def machine(self):
        self.book.add_all(medians([bench("machine", self.folder) for _ in range(REPEATS)]))

    def engine(self):
        self.book.add_all(bench("engine", self.folder, *self.data(HOURS)))

    def journal(self):
        self.book.add_all(bench("journal", self.folder, *self.data(HOURS)))
        shutil.rmtree(os.path.join(self.folder, "replay"), ignore_errors=True)

    def native(self):
        points = HOURS * 360 * 1000 * 12
        runs = []
        for i in range(REPEATS):
            with Cluster(self.folder, f"native-{i}") as cluster:
                last = i == REPEATS - 1
                records = bench("cluster" if last else "ingest", cluster.folder, *self.data(HOURS))
                per_point, note = disk(cluster, points)
                records["bytes_per_point_yardstick"] = (per_point, "bytes per point", note)
                runs.append(records)
        self.book.add_all(medians(runs))

    def three(self):
        hours = min(HOURS, 6)
        with Cluster(self.folder, "three", 3) as cluster:
            records = bench("cluster", cluster.folder, "_3node", *self.data(hours))
            per_point, note = disk(cluster, hours * 360 * 1000 * 12)
            records["bytes_per_point_yardstick_3node"] = (per_point, "bytes per point and copy", note)
            self.book.add_all(records)

    def latency(self):
        for nodes, suffix in ((1, ""), (3, "_3node")):
            runs = []
            for i in range(REPEATS):
                with Cluster(self.folder, f"latency-{nodes}-{i}", nodes) as cluster:
                    runs.append(bench("latency", cluster.folder, suffix, *self.data(min(HOURS, 6))))
            self.book.add_all(medians(runs))

    def replication(self):
        self.book.add_all(replication.traffic(bench, self.folder, self.generator, self.data(min(HOURS, 6))))
        hours = 1 if SMALL else int(os.environ.get("BENCH_CATCHUP_HOURS", "2"))
        self.book.add_all(replication.catch_up(bench, self.folder, self.generator, hours))

    def text(self):
        hours = min(HOURS, 6)
        path = os.path.join(self.folder, "text.influx")
        points = self.generator.influx(path, hours)
        runs = []
        for i in range(REPEATS):
            with Cluster(self.folder, f"text-{i}") as cluster:
                client, server, seconds, _ = cluster.write(
                    ["write", path, "--format", "influx", "--precision", self.generator.precision(), "-o", "json"])
                mpts = points / 1e6
                note = f"busbar write, {mpts:.2f} M points in {os.path.getsize(path) / 1e6:.0f} MB"
                runs.append({
                    "ingest_text_cpu_s_per_mpt": ((client + server) / mpts, "CPU s per M points",
                                                  f"{note}; client and server until the last acknowledgement"),
                    "ingest_text_client_cpu_s_per_mpt": (client / mpts, "CPU s per M points", "of that the client"),
                    "ingest_text_mpts_per_s": (mpts / seconds, "M points/s", note),
                })
        os.unlink(path)
        self.book.add_all(medians(runs))

    def crash(self):
        with Cluster(self.folder, "crash") as cluster:
            self.book.add_all(bench("crash", cluster.folder, *self.data(min(HOURS, 6))))

    def m5bat(self):
        data = os.path.join(SHARED, "data/m5bat-grid-battery")
        if not os.path.isdir(data):
            print("bench: m5bat: the data set is not there", flush=True)
            return
        with Cluster(self.folder, "m5bat") as cluster:
            points = 0
            for plan, name in M5BAT:
                out = cluster.write(["import", os.path.join(data, name), "--map",
                                     os.path.join(ROOT, "tests/integration/maps", plan), "-o", "json"])[3]
                points += json.loads(out)["acked_points"]
            cluster.settle()
            per_point, note = disk(cluster, points)
            self.book.add("bytes_per_point_m5bat", per_point, "bytes per point", f"{points / 1e6:.3f} M points; {note}")

    def fleet(self, name, batteries, minutes):
        """One frame of 12 metrics a minute from each battery."""
        if not self.generator.program:
            raise Broken("the million batteries need the yardstick's generator")
        with Cluster(self.folder, name, memory=MILLION_MEMORY) as cluster:
            words = self.generator.words("raw", batteries, 60000, minutes * 60)
            with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as frames:
                records = bench("fleet", cluster.folder, str(batteries), stdin=frames.stdout)
            per_point, note = disk(cluster, batteries * minutes * 12)
            return {name: value for name, (value, _, _) in records.items()} | {"bytes": per_point}

    def million(self):
        batteries = 100000 if SMALL else 1000000
        minutes = 2 if SMALL else 1440 if LONG else int(os.environ.get("BENCH_MILLION_MINUTES", "60"))
        few = self.fleet("few", 1000, 1200 if SMALL else 1440 if LONG else 2400)
        begin = time.monotonic()
        many = self.fleet("many", batteries, minutes)
        note = (f"{batteries} batteries, one frame of 12 metrics a minute, {minutes} minutes, memory_bytes {MILLION_MEMORY}"
                f" ({time.monotonic() - begin:.0f} s)")
        for name, unit in (("cpu_s_per_mpt", "CPU s per M points"), ("cpu_settled_s_per_mpt", "CPU s per M points"),
                           ("mpts_per_s", "M points/s"), ("settle_s", "s")):
            self.book.add(f"million_batteries_{name}", many[f"fleet_{name}"], unit, note)
            self.book.add(f"thousand_batteries_{name}", few[f"fleet_{name}"], unit, "1,000 batteries, a frame a minute")
        self.book.add("million_batteries_cpu_ratio",
                      many["fleet_cpu_settled_s_per_mpt"] / few["fleet_cpu_settled_s_per_mpt"], "x",
                      f"server CPU a point with settling, to 1,000 batteries; {note}")
        self.book.add("million_batteries_ingest_cpu_ratio",
                      many["fleet_cpu_s_per_mpt"] / few["fleet_cpu_s_per_mpt"], "x", "the same until the last answer")
        self.book.add("million_batteries_rss_mib", many["fleet_rss_mib"], "MiB", f"peak RssAnon of the server; {note}")
        self.book.add("million_batteries_bytes_per_point", many["bytes"], "bytes per point", note)
        if LONG:
            self.book.add("million_batteries_bytes_ratio", many["bytes"] / few["bytes"], "x",
                          "bytes per point after a day, to 1,000 batteries over a day")


PARTS = ["machine", "engine", "journal", "native", "crash", "three", "latency", "replication", "text", "m5bat", "million"]


def main():
    os.makedirs(os.path.join(ROOT, "build"), exist_ok=True)
    begin = time.monotonic()
    book = Book()
    folder = tempfile.mkdtemp(prefix="bench-", dir=os.path.join(ROOT, "build"))
    try:
        run = Run(folder, book)
        source = "yardstick's generator" if run.generator.program else "own fleet"
        book.add("bench_data_hours", HOURS, "h", f"{source}, 1,000 batteries, 12 metrics, 10 s")
        for part in PARTS:
            if ONLY and part not in ONLY:
                continue
            try:
                getattr(run, part)()
            except Broken as problem:
                book.problems.append(f"{part}: {problem}")
                print(f"bench: {book.problems[-1]}", file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    book.add("bench_seconds", time.monotonic() - begin, "s")
    print()
    print("\n".join(table.lines(book.values)))
    if HOURS != 24:
        print(f"the targets are for 24 hours of data; these are {HOURS}")
    for problem in book.problems:
        print(f"not measured: {problem}")
    return 1 if book.problems else 0


if __name__ == "__main__":
    sys.exit(main())
