#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The demonstration in its fast form: it asserts its own numbers and must end with status 0."""
import os
import re
import signal
import subprocess
import time

import cluster
from cluster import BIN, ROOT, case, expect


def start_demo():
    """In a process group of its own, so that nothing of it outlives the case."""
    environment = {**os.environ, "DEMO_FAST": "1", "BB_BIN": BIN, "TERM": "dumb"}
    return subprocess.Popen(["bash", os.path.join(ROOT, "client/demo/demo.sh")], env=environment, cwd=ROOT,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                            text=True, start_new_session=True)


def finish_demo(demo):
    try:
        out, _ = demo.communicate(timeout=400)
    except subprocess.TimeoutExpired:
        os.killpg(demo.pid, signal.SIGTERM)  # its trap stops the cluster
        out, _ = demo.communicate(timeout=60)
    return demo.returncode, out


def check(code, out):
    expect(code == 0, f"status {code}: {out[-1500:]}")
    lost = re.findall(r"acknowledged (\d+), readable (\d+), lost (\d+)", out)
    expect(len(lost) >= 6, f"only {len(lost)} counts are shown")
    expect(all(int(l[2]) == 0 and int(l[1]) >= int(l[0]) for l in lost), f"{lost}")
    for word in ("points/s", "p99", "bytes per point", "kill -9"):
        expect(word in out, f"the screen does not say '{word}'")


def runs_left():
    folder = os.path.join(ROOT, "build/demo")
    return set(os.listdir(folder)) if os.path.isdir(folder) else set()


def main():
    before = runs_left()
    with case("DEMO_FAST=1: three nodes, a fleet, a node killed and back, nothing lost"):
        begin = time.monotonic()
        code, out = finish_demo(start_demo())
        print(f"# demo: {time.monotonic() - begin:.1f} s", flush=True)
        check(code, out)
    with case("two demonstrations at once do not disturb each other"):
        demos = [start_demo(), start_demo()]
        for code, out in [finish_demo(d) for d in demos]:
            check(code, out)
    with case("the fast demonstration stops its cluster and leaves no folder"):
        left = runs_left() - before
        expect(not left, f"{left} is left")

    cluster.finish()


if __name__ == "__main__":
    main()
