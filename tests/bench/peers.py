#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""make bench-peers: the same data into busbar, VictoriaMetrics and InfluxDB, side by side.

  BENCH_PEER_HOURS=N   hours of the yardstick (default 24, about 10 minutes on 2 idle cores)
  BENCH_PEERS=a,b      some of: busbar victoria influx m5bat
  BENCH_SIZE=hour      one hour

Debian's packages victoria-metrics and influxdb are downloaded and unpacked below build/peers;
nothing is installed, no daemon of the system is touched. Each server listens on loopback, has the
machine to itself, and is ended by its process id. Data goes in as line protocol over HTTP, 5,000
frames a request, one connection; busbar gets the same points natively, and the text apart. Sizes
are taken after everything is flushed and merged. JSON lines in build/bench-peers.json.
"""
import csv
import glob
import gzip
import http.client
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse

import yaml

import table
from run import bench, disk
from yardstick import BUSBAR, M5BAT, ROOT, SHARED, START_MS, Broken, Cluster, Generator, bytes_below, cpu_s, good

HOURS = 1 if os.environ.get("BENCH_SIZE") == "hour" else int(os.environ.get("BENCH_PEER_HOURS", "24"))
ONLY = [word for word in os.environ.get("BENCH_PEERS", "").split(",") if word]
POINTS = HOURS * 360 * 1000 * 12
PEERS = os.path.join(ROOT, "build/peers")
RESULTS = os.environ.get("BENCH_RESULTS", os.path.join(ROOT, "build/bench-peers.json"))
REQUEST_LINES = 5000
FROM_S = START_MS // 1000 - 60  # some times jitter to before the start
TO_S = START_MS // 1000 + HOURS * 3600 + 60
PORT = {"victoria": 18428, "influx": 18086, "influx_rpc": 18088}

# Columns that were measured with newer versions, 24 hours, on 2 virtual cores; from the yardstick's
# table. Rows as below.
NEWER = {
    "VM 1.145": {"mpts": 2.35, "cpu": 0.80, "bytes": 1.03, "rss": 418, "q1": 11.5, "q2": 1.8, "q3": 2.1, "q4": 61,
                 "q5": 71, "q6": 7.3, "q7": 815},
    "TSDB 2.28": {"mpts": 1.8, "cpu": 0.94, "bytes": 3.85, "rss": 1680, "q1": 20, "q2": 2.8, "q3": 4.3, "q4": 749,
                  "q5": 765, "q6": 13.8, "q7": 658},
    "CH 18.16": {"mpts": 8.9, "cpu": 0.158, "bytes": 2.40, "rss": 302, "q1": 127, "q2": 2.8, "q3": 2.7, "q4": 60,
                 "q5": 91, "q6": 71, "q7": 699},
    "DuckDB 1.5": {"mpts": 14.1, "cpu": 0.13, "bytes": 1.59, "rss": 1565, "q1": 16.5, "q2": 2.1, "q3": 2.0, "q4": 53,
                   "q5": 59, "q6": 0.8, "q7": 734},
}
ROWS = [("mpts", "M points/s"), ("text_cpu", "text: CPU s/Mpt, client too"), ("cpu", "server CPU s/Mpt"),
        ("settled_cpu", "the same, settled"), ("bytes", "bytes/point"), ("rss", "peak RssAnon MiB"),
        ("q1", "Q1 last of 1,000, ms"), ("q2", "Q2 raw, ms"), ("q3", "Q3 by minute, ms"), ("q4", "Q4 minima, ms"),
        ("q5", "Q5 fleet mean, ms"), ("q6", "Q6 who is low, ms"), ("q7", "Q7 all points, ms"),
        ("m5bat", "m5bat bytes/point")]


def unpacked(package, program):
    """Path of the program of a Debian package, downloaded and unpacked when it is not there."""
    path = os.path.join(PEERS, package, "usr/bin", program)
    if not os.path.isfile(path):
        folder = os.path.join(PEERS, package)
        os.makedirs(folder, exist_ok=True)
        good(["apt-get", "download", package], f"apt-get download {package}", cwd=folder)
        good(["dpkg", "-x", glob.glob(os.path.join(folder, "*.deb"))[0], folder], f"dpkg -x {package}")
    return path


class Server:
    """A peer's process on loopback; ended by its id."""

    def __init__(self, name, words, port, environment=None):
        self.name, self.port = name, port
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                raise Broken(f"{name}: something listens on port {port} already")
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        env={**os.environ, **(environment or {})})
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        self.rss_mib = 0
        for _ in range(300):
            try:
                self.get("/health" if name == "victoria" else "/ping")
                return
            except OSError:
                self.connection.close()
                time.sleep(0.1)
        self.end()
        raise Broken(f"{name}: does not answer on port {port}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def request(self, method, path, body=None):
        form = {"Content-Type": "application/x-www-form-urlencoded"} if isinstance(body, str) else {}
        self.connection.request(method, path, body, form)
        answer = self.connection.getresponse()
        data = answer.read()
        if answer.status >= 300:
            raise Broken(f"{self.name}: {path[:80]}: {answer.status} {data[:200]}")
        return data

    def get(self, path, **fields):
        return self.request("GET", path + ("?" + urllib.parse.urlencode(fields) if fields else ""))

    def cpu_s(self):
        return cpu_s(self.process.pid)

    def look(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith("RssAnon:"):
                    self.rss_mib = max(self.rss_mib, int(line.split()[1]) / 1024)

    def load(self, path, where):
        """Posts a file of lines; seconds."""
        begin = time.monotonic()
        with open(path, "rb") as file:
            first = file.readline()
            file.seek(0)
            size = len(first) * REQUEST_LINES
            while block := file.read(size):
                self.request("POST", where, block + file.readline())
                self.look()
        return time.monotonic() - begin


def median_ms(ask, wanted, what):
    """Median time of up to 7 asks within 10 s; `ask` returns something that `wanted` likes."""
    times, end = [], time.monotonic() + 10
    while not times or (len(times) < 7 and time.monotonic() < end):
        begin = time.monotonic()
        answer = ask()
        times.append((time.monotonic() - begin) * 1000)
        if len(times) == 1 and not wanted(answer):
            raise Broken(f"{what}: unexpected answer: {str(answer)[:200]}")
    return statistics.median(times)


# ---- VictoriaMetrics ---------------------------------------------------------------------------

def victoria_server(folder):
    program = unpacked("victoria-metrics", "victoria-metrics")
    return Server("victoria", [program, f"-storageDataPath={folder}", f"-httpListenAddr=127.0.0.1:{PORT['victoria']}",
                               "-retentionPeriod=100y", "-search.disableCache", "-loggerLevel=ERROR"], PORT["victoria"])


def victoria_settle(server, folder):
    """Everything in parts on disk and merged; bytes on disk."""
    server.get("/internal/force_flush")
    server.get("/internal/force_merge")
    calm = 0
    while calm < 6:
        time.sleep(0.5)
        merging = [line for line in server.get("/metrics").decode().splitlines()
                   if line.startswith("vm_active_merges") or line.startswith("vm_active_force_merges")]
        calm = calm + 1 if all(line.endswith(" 0") for line in merging) else 0
    server.look()
    return bytes_below(folder)


def victoria_questions(server):
    end, span = TO_S, f"{HOURS * 3600 + 180}s"  # a window is open at its start

    def vector(query, at=end):
        return json.loads(server.get("/api/v1/query", query=query, time=at, nocache=1))["data"]["result"]

    def matrix(query, step):
        return json.loads(server.get("/api/v1/query_range", query=query, start=FROM_S, end=end, step=step,
                                     nocache=1))["data"]["result"]

    def raw():
        return json.loads(server.get("/api/v1/export", **{"match[]": 'bat_soc{id="b000017"}', "start": FROM_S,
                                                          "end": end}))["values"]

    def all_points():
        every = '{__name__=~"bat_.+"}'
        return [float(vector(f"{outer}({inner}_over_time({every}[{span}]))")[0]["value"][1])
                for outer, inner in (("sum", "count"), ("sum", "sum"), ("min", "min"), ("max", "max"))]

    many = 1000
    last = f"last_over_time(bat_soc[{3600 * 24}s])"
    return {
        "q1": median_ms(lambda: vector(last), lambda a: len(a) == many, "Q1"),
        "q2": median_ms(raw, lambda a: len(a) == HOURS * 360, "Q2"),
        "q3": median_ms(lambda: matrix('avg_over_time({__name__=~"bat_(soc|v|i|p)",id="b000042"}[1m])', 60),
                        lambda a: len(a) == 4, "Q3"),
        "q4": median_ms(lambda: vector(f"min_over_time(bat_soc[{span}])"), lambda a: len(a) == many, "Q4"),
        "q5": median_ms(lambda: matrix("avg(avg_over_time(bat_p[5m]))", 300), lambda a: len(a) == 1, "Q5"),
        "q6": median_ms(lambda: vector("last_over_time(bat_soc[10s]) < 20", TO_S - 60),
                        lambda a: len(a) <= many, "Q6"),
        "q7": median_ms(all_points, lambda a: a[0] == POINTS, "Q7"),
    }


# ---- InfluxDB ----------------------------------------------------------------------------------

def influx_server(folder):
    program = unpacked("influxdb", "influxd")
    settings = {"INFLUXDB_HTTP_BIND_ADDRESS": f"127.0.0.1:{PORT['influx']}",
                "INFLUXDB_BIND_ADDRESS": f"127.0.0.1:{PORT['influx_rpc']}",
                "INFLUXDB_META_DIR": os.path.join(folder, "meta"), "INFLUXDB_DATA_DIR": os.path.join(folder, "data"),
                "INFLUXDB_DATA_WAL_DIR": os.path.join(folder, "wal"), "INFLUXDB_REPORTING_DISABLED": "true",
                "INFLUXDB_DATA_CACHE_SNAPSHOT_WRITE_COLD_DURATION": "5s",
                "INFLUXDB_DATA_COMPACT_FULL_WRITE_COLD_DURATION": "10s",
                "INFLUXDB_HTTP_LOG_ENABLED": "false", "INFLUXDB_MONITOR_STORE_ENABLED": "false"}
    server = Server("influx", [program, "run", "-config", "/dev/null"], PORT["influx"], settings)
    try:
        server.request("POST", "/query", urllib.parse.urlencode({"q": "CREATE DATABASE bench"}))
    except Exception:
        server.end()
        raise
    return server


def influx_settle(server, folder):
    """Until the cache is written out and compactions have ended: the sizes stand still for 20 s."""
    before, since = -1, time.monotonic()
    give_up = since + 300
    while time.monotonic() - since < 20 and time.monotonic() < give_up:
        time.sleep(1)
        size = bytes_below(folder)
        if size != before:
            before, since = size, time.monotonic()
    server.look()
    return before


def influx_questions(server):
    bounds = f"time >= {FROM_S}s AND time < {TO_S}s"

    def ask(query):
        words = urllib.parse.urlencode({"q": query, "db": "bench", "epoch": "ms"})
        result = json.loads(server.request("POST", "/query", words))["results"][0]
        if "error" in result:
            raise Broken(f"influx: {query}: {result['error']}")
        return result.get("series", [])

    last_s = TO_S - 60
    return {
        "q1": median_ms(lambda: ask("SELECT last(soc) FROM bat GROUP BY id"), lambda a: len(a) == 1000, "Q1"),
        "q2": median_ms(lambda: ask(f"SELECT soc FROM bat WHERE id='b000017' AND {bounds}"),
                        lambda a: len(a[0]["values"]) == HOURS * 360, "Q2"),
        "q3": median_ms(lambda: ask("SELECT mean(soc),mean(v),mean(i),mean(p) FROM bat WHERE id='b000042' AND "
                                    f"{bounds} GROUP BY time(1m)"), lambda a: len(a) == 1, "Q3"),
        "q4": median_ms(lambda: ask(f"SELECT min(soc) FROM bat WHERE {bounds} GROUP BY id"),
                        lambda a: len(a) == 1000, "Q4"),
        "q5": median_ms(lambda: ask(f"SELECT mean(p) FROM bat WHERE {bounds} GROUP BY time(5m)"),
                        lambda a: len(a) == 1, "Q5"),
        "q6": median_ms(lambda: ask(f"SELECT soc FROM bat WHERE time > {last_s - 10}s AND soc < 20 GROUP BY id"),
                        lambda a: len(a) <= 1000, "Q6"),
        "q7": median_ms(lambda: ask(f"SELECT count(*),sum(*),min(*),max(*) FROM bat WHERE {bounds}"),
                        lambda a: sum(a[0]["values"][0][1:13]) == POINTS, "Q7"),
    }


# ---- the runs ----------------------------------------------------------------------------------

def run_peer(folder, text, make, where, settle, questions):
    data = os.path.join(folder, "peer")
    os.makedirs(data)
    try:
        with make(data) as server:
            before = server.cpu_s()
            seconds = server.load(text, where)
            out = {"mpts": POINTS / 1e6 / seconds, "cpu": (server.cpu_s() - before) / POINTS * 1e6}
            out["bytes"] = settle(server, data) / POINTS
            out["settled_cpu"] = (server.cpu_s() - before) / POINTS * 1e6
            out["rss"] = server.rss_mib
            return out | questions(server)
    finally:
        shutil.rmtree(data, ignore_errors=True)


def run_busbar(folder, generator, text):
    raw = generator.raw(os.path.join(folder, "peers.raw"), HOURS)
    with Cluster(folder, "busbar") as cluster:
        records = bench("cluster", cluster.folder, *raw)
        out = {"bytes": disk(cluster, POINTS)[0]}
    os.unlink(raw[1])
    for short, name in (("mpts", "ingest_native_mpts_per_s"), ("cpu", "ingest_native_cpu_s_per_mpt"),
                        ("settled_cpu", "ingest_native_cpu_settled_s_per_mpt"), ("rss", "rss_mib")):
        out[short] = records[name][0]
    for i in range(1, 8):
        out[f"q{i}"] = records[f"wire_q{i}_ms"][0]
    with Cluster(folder, "busbar-text") as cluster:
        client, server, _, _ = cluster.write(["write", text, "--format", "influx", "--precision", "ms"])
        out["text_cpu"] = (client + server) / POINTS * 1e6
    return out


def m5bat_lines(path):
    """The one-second files as line protocol, through the maps that busbar imports them with: the same points."""
    points = 0
    with open(path, "w", encoding="ascii") as out:
        for plan_name, name in M5BAT:
            with open(os.path.join(ROOT, "tests/integration/maps", plan_name), encoding="utf-8") as file:
                plan = yaml.safe_load(file)
            source = os.path.join(SHARED, "data/m5bat-grid-battery", name)
            with gzip.open(source, "rt", encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    stamp = int(time.mktime(time.strptime(row["time"], "%Y-%m-%dT%H:%M:%SZ")) - time.timezone) * 1000
                    for battery in plan["batteries"]:
                        fields = [f"{m['metric']}={row[m['column']]}" for m in battery["metrics"]
                                  if row[m["column"]] not in ("", "nan", "NaN")]
                        points += len(fields)
                        if fields:
                            out.write(f"m5,id={battery['id']} {','.join(fields)} {stamp}\n")
    return points


def run_m5bat(folder):
    text = os.path.join(folder, "m5bat.influx")
    points = m5bat_lines(text)
    out = {}
    with Cluster(folder, "m5bat") as cluster:
        answer = cluster.write(["write", text, "--format", "influx", "--precision", "ms", "-o", "json"])[3]
        if json.loads(answer)["acked_points"] != points:
            raise Broken(f"m5bat: {points} points, answer {answer}")
        cluster.settle()
        out["busbar"] = disk(cluster, points)[0]
    data = os.path.join(folder, "m5bat-peer")
    os.makedirs(data)
    with victoria_server(data) as server:
        server.load(text, "/write?precision=ms")
        out["victoria"] = victoria_settle(server, data) / points
        found = json.loads(server.get("/api/v1/query", query='sum(count_over_time({__name__=~"m5_.+"}[30d]))',
                                      time=1682899200))["data"]["result"][0]["value"][1]
        if int(found) != points:
            raise Broken(f"m5bat: {found} of {points} points in the peer")
    shutil.rmtree(data, ignore_errors=True)
    return out


def show_table(columns):
    names = list(columns)
    print("\n" + f"{'':30}" + "".join(f"{name:>13}" for name in names) + f"{'best peer/busbar':>18}")
    for key, title in ROWS:
        values = [columns[name].get(key) for name in names]
        if all(value is None for value in values):
            continue
        ours, others = values[0], [value for value in values[1:] if value is not None]
        ratio = "-"
        if names[0] == "busbar" and ours and others:
            ratio = f"{ours / max(others):.2f} x" if key == "mpts" else f"{min(others) / ours:.2f} x"
        cells = "".join(f"{table.show(value) if value is not None else '-':>13}" for value in values)
        print(f"{title:30}{cells}{ratio:>18}")
    print(f"\n{HOURS} hours, {POINTS / 1e6:.2f} M points. Ratios: how many times better busbar is than the best other column.")
    print("victoria and influx: Debian's packages, measured now, over HTTP. The columns behind them: newer versions and")
    print("other databases, 24 hours, from the yardstick's table (2 virtual cores, another run); see docs/benchmarks.md.")


def main():
    os.makedirs(PEERS, exist_ok=True)
    folder = tempfile.mkdtemp(prefix="bench-peers-", dir=os.path.join(ROOT, "build"))
    columns, problems = {"busbar": {}, "victoria": {}, "influx": {}}, []
    try:
        generator = Generator(folder)
        if not generator.program:
            print("bench-peers: the yardstick's generator is not there")
            return 1
        text = os.path.join(folder, "yardstick.influx")
        if not ONLY or set(ONLY) - {"m5bat"}:
            generator.influx(text, HOURS)
        runs = [("busbar", lambda: run_busbar(folder, generator, text)),
                ("victoria", lambda: run_peer(folder, text, victoria_server, "/write?precision=ms", victoria_settle,
                                              victoria_questions)),
                ("influx", lambda: run_peer(folder, text, influx_server, "/write?db=bench&precision=ms", influx_settle,
                                            influx_questions)),
                ("m5bat", lambda: run_m5bat(folder))]
        for name, run in runs:
            if ONLY and name not in ONLY:
                continue
            print(f"bench-peers: {name}", flush=True)
            try:
                found = run()
            except Broken as problem:
                problems.append(f"{name}: {problem}")
                continue
            for who, values in ((name, found),) if name != "m5bat" else ((w, {"m5bat": v}) for w, v in found.items()):
                columns[who].update(values)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    with open(RESULTS, "w", encoding="utf-8") as out:
        for who, values in columns.items():
            for key, value in values.items():
                out.write(json.dumps({"name": f"{who}_{key}", "value": float(f"{value:.6g}"), "hours": HOURS}) + "\n")
    columns.update(NEWER)
    show_table(columns)
    for problem in problems:
        print(f"not measured: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
