#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The simulator as a program: seeds repeat, seeds that once failed are clean, every bug that can be
switched on is found, and wrong options are refused."""
import os
import re
import subprocess
import tempfile
import xml.etree.ElementTree

import cluster
from cluster import BIN, ROOT, case, expect

SIM = os.path.join(BIN, "busbar-sim")
PLANTS = ("boot-not-checked", "count-before-rebuilt", "ack-before-sync", "count-unsynced-replica", "cached-fence", "silent-partial", "trim-early", "forget-dot", "still-clock",
          "swapped-extremes", "rounded-sum", "local-fence", "local-level", "session-ignored", "arrival-order", "delete-resurrects",
          "retry-not-idempotent", "rest-untold", "stream-resumed", "forget-early",
          "adopt-late", "stale-source", "watch-early", "judge-at-replica", "no-epoch-fence",
          "retention-resurrects", "rollups-left-out", "twin-not-fenced", "hostile-believed", "busy-wait")
SEEDS = int(os.environ.get("BB_SIM_SEEDS", "2000"))  # about 5,200 events each
KILLS_MIN = 20  # deaths at each kill point


def sim(*words, timeout_s=120):
    return subprocess.run([SIM, *words], capture_output=True, text=True, timeout=timeout_s, check=False)


def many(first, last):
    """Seeds first..last in as many processes as there are processors: lines, counters, all clean."""
    count = os.cpu_count() or 1
    share = (last - first + count) // count
    processes = []
    for begin in range(first, last + 1, share):
        words = ("--seeds", f"{begin}..{min(begin + share - 1, last)}", "--counters")
        processes.append(subprocess.Popen([SIM, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    lines, counters = [], {}
    for process in processes:
        out, err = process.communicate(timeout=600)
        expect(process.returncode == 0, [line for line in out.splitlines() if "finding" in line][:5])
        lines += out.splitlines()
        for name, number in re.findall(r"^([\w-]+) +(\d+)$", err, re.M):
            counters[name] = counters.get(name, 0) + int(number)
    return lines, counters


def main():
    if not os.access(SIM, os.X_OK):
        cluster.skip("the simulator", "busbar-sim is not built")
        cluster.finish()
    with case(f"{SEEDS} seeds are clean, in 10 million events if they are 2,000"):
        lines, counters = many(1, SEEDS)
        events = sum(int(number) for number in re.findall(r" events=(\d+) ", "\n".join(lines)))
        print(f"{len(lines)} seeds, {events} events")
        expect(len(lines) == SEEDS and events >= 5000 * SEEDS, f"{len(lines)} seeds, {events} events")
    with case("every kind of fault, transition and outcome came up, and deaths at every kill point"):
        never = [name for name, count in counters.items() if count == 0]
        expect(len(counters) > 60 and not never, f"never happened: {never}")
        kills = {name: count for name, count in counters.items() if name.startswith("kill_")}
        rare = {name: count for name, count in kills.items() if count < KILLS_MIN * min(SEEDS, 2000) // 2000}
        expect(len(kills) >= 17 and not rare, f"fewer than {KILLS_MIN} deaths: {rare}")
    with case("a seed gives the same run twice, and another seed another"):
        again, _ = many(1, min(100, SEEDS))
        expect(again == lines[:len(again)], "two runs of one seed differ")
        pattern = r"^seed=\d+ events=\d+ trace_hash=([0-9a-f]{16}) result=ok$"
        hashes = re.findall(pattern, "\n".join(again), re.M)
        expect(len(hashes) == len(again) and len(set(hashes)) == len(hashes), again[-3:])
    with case("the last line is the result, verbose or not"):
        quiet, verbose = sim("--seed", "11"), sim("--seed", "11", "--verbose")
        expect(quiet.stdout.splitlines()[-1] == verbose.stdout.splitlines()[-1], verbose.stdout[-300:])
        expect(len(verbose.stdout.splitlines()) > 100, "nothing is told")
    with case("seeds that once failed are clean"):
        done = sim("--regression", os.path.join(ROOT, "tests/sim/seeds.txt"))
        expect(done.returncode == 0 and done.stdout.count("result=ok") >= 10, done.stdout[-800:])
    with case("a failing run is made short, what is left fails alike, and is drawn"):
        found = sim("--count", "100", "--plant", "local-level").stdout
        failing = re.findall(r"^seed=(\d+) events=(\d+) .*result=FAIL$", found, re.M)
        seed = next(number for number, events in failing if int(events) > 1000)  # there is something to take away
        short = sim("--seed", seed, "--plant", "local-level", "--minimise")
        lines = short.stdout.splitlines()
        left = re.search(r"(\d+) of (\d+) operations, (\d+) of (\d+) events", lines[1])
        expect(short.returncode == 1 and int(left[1]) < int(left[2]) and int(left[3]) < int(left[4]), short.stdout)
        with tempfile.TemporaryDirectory() as folder:
            picture = os.path.join(folder, "run.svg")
            again = sim(*lines[-1].split()[1:], "--render", picture)
            expect(again.returncode == 1 and f"events={left[3]} " in again.stdout, again.stdout)
            root = xml.etree.ElementTree.parse(picture).getroot()
            texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
            expect(any(text.startswith("write at") for text in texts), texts)
            expect(any(text.startswith("replicate p") for text in texts), texts)
            finding = lines[0].removeprefix("finding: ")
            expect(finding[:40] in " ".join(texts), texts[-3:])
        clean = sim("--seed", "11", "--minimise")
        expect(clean.returncode == 0 and "no finding" in clean.stdout, clean.stdout)
    with case("the lists of what is left are checked"):
        for words in (("--faults", "3,2"), ("--operations", "1-"), ("--without", "rain")):
            done = sim("--seed", "1", *words)
            expect(done.returncode == 2 and words[0] in done.stderr, done.stderr)
    for plant in PLANTS:
        with case(f"the planted bug {plant} is found within 500 seeds"):
            done = sim("--count", "500", "--stop", "--plant", plant)
            expect(done.returncode == 1, f"exit status {done.returncode}")
            expect(done.stdout.splitlines()[-1].endswith("result=FAIL"), done.stdout[-300:])
            expect(" finding at " in done.stdout, done.stdout[-300:])
    with case("wrong options are refused with usage"):
        for words in (("--seed",), ("--seed", "x"), ("--seed", "-1"), ("--seeds", "5..2"), ("--seeds", "5"),
                      ("--count", "0"), ("--plant", "nothing"), ("--regression", "/nowhere"), ("--what", "1"),
                      ("extra",)):
            done = sim(*words)
            expect(done.returncode == 2, f"{words}: exit status {done.returncode}")
            expect("usage" in done.stderr and not done.stdout, f"{words}: {done.stdout}{done.stderr[:100]}")
        expect(sim("--help").returncode == 0 and "usage" in sim("--help").stdout, "--help")
    cluster.finish()


if __name__ == "__main__":
    main()
