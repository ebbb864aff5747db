#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the test groups and adds them up; the last line is `N passed, M failed, K skipped`.

unit         every executable test_* of the build tree (cmocka); each case counts
sim          the simulator over fixed and fresh seeds; each seed counts
golden       readers of the golden files written with other tools
model        tests/model/*.pml, searched completely with Spin
integration  tests/integration/test_*: real processes; prints `ok - name`, `not ok - name: why` or
             `skip - name: why` per case
"""
import argparse
import concurrent.futures
import glob
import os
import re
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CASE_TIMEOUT_S = 900


def run(command, env=None, timeout_s=CASE_TIMEOUT_S):
    begin = time.monotonic()
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT,
                              env=env, timeout=timeout_s, check=False)
        code, out = done.returncode, done.stdout.decode("utf-8", "replace")
    except subprocess.TimeoutExpired as late:
        code, out = -1, (late.stdout or b"").decode("utf-8", "replace") + "\ntimed out"
    return code, out, time.monotonic() - begin


def count_cmocka(code, out):
    passed = len(re.findall(r"^\[       OK \]", out, re.M))
    skipped = len(re.findall(r"^\[  SKIPPED \] \w", out, re.M))
    failed = len(set(re.findall(r"^\[  FAILED  \] (?:\w+: )?([A-Za-z_]\w*)\s*$", out, re.M)))
    if code != 0 and failed == 0:
        failed = 1
    if code == 0 and passed + skipped == 0:
        failed = 1  # a test program without a case proves nothing
    return passed, failed, skipped


def count_lines(code, out):
    passed = len(re.findall(r"^ok - ", out, re.M))
    failed = len(re.findall(r"^not ok - ", out, re.M))
    skipped = len(re.findall(r"^skip - ", out, re.M))
    if code != 0 and failed == 0:
        failed = 1
    if code == 0 and passed + skipped + failed == 0:
        failed = 1
    return passed, failed, skipped


def count_summary(code, out):
    found = re.findall(r"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$", out, re.M)
    if not found:
        return 0, 1, 0
    passed, failed, skipped = (int(n or 0) for n in found[-1])
    if (code != 0 and failed == 0) or passed + failed + skipped == 0:
        failed += 1
    return passed, failed, skipped


def count_seeds(code, out):
    passed = len(re.findall(r"^seed=\d+ .* result=ok$", out, re.M))
    failed = len(re.findall(r"^seed=\d+ .* result=FAIL$", out, re.M))
    if code != 0 and failed == 0:
        failed = 1
    return passed, failed, 0


def environment(build, label):
    env = dict(os.environ)
    env["BB_BUILD"] = os.path.join(ROOT, build)
    env.setdefault("BB_BIN", os.path.join(ROOT, "build/bin"))
    env["BB_LABEL"] = label
    shared = os.path.join(os.path.dirname(ROOT), "shared")
    if os.path.isdir(shared):
        env.setdefault("BB_SHARED", shared)
    suppressions = os.path.join(ROOT, "tests/support/tsan.supp")
    if os.path.exists(suppressions):
        env["TSAN_OPTIONS"] = f"suppressions={suppressions} halt_on_error=1 " + env.get("TSAN_OPTIONS", "")
    return env


def has_threads(name):
    """Can the program have a race at all? Cores of one thread (their header says "Pure") cannot; under the
    thread sanitizer they take minutes for nothing. `make soak` runs them all."""
    for layer in sorted(os.listdir(os.path.join(ROOT, "tests/unit"))):
        path = os.path.join(ROOT, "tests/unit", layer, name + ".c")
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                return "pthread" in file.read() or layer in ("client", "node", "runtime") and not is_pure(layer, name)
    return True


def is_pure(layer, name):
    headers = glob.glob(os.path.join(ROOT, layer, "**", name.removeprefix("test_") + ".h"), recursive=True)
    for header in headers:
        with open(header, encoding="utf-8") as file:
            return re.search(r"\bPure\b", file.read(2000)) is not None
    return False


def jobs_of(group, build, label, everything):
    if group == "unit":
        folder = os.path.join(ROOT, build, "tests")
        found = []
        for base, _, names in os.walk(folder):
            found += [os.path.join(base, n) for n in names
                      if n.startswith("test_") and os.access(os.path.join(base, n), os.X_OK)
                      and (label != "tsan" or everything or has_threads(n))]
        return [(os.path.basename(p), [p], count_cmocka) for p in sorted(found)]
    if group == "sim":
        sim = os.path.join(ROOT, build, "bin/busbar-sim")
        seeds = {"": 100, "asan": 60, "tsan": 10}.get(label, 100)
        if label == "":
            sim = os.path.join(ROOT, "build/bin/busbar-sim")
        return [(f"busbar-sim {seeds} seeds", [sim, "--count", str(seeds)], count_seeds)]
    if group == "golden":
        folder = os.path.join(ROOT, "tests/golden")
        found = [os.path.join(b, n) for b, _, ns in os.walk(folder) for n in ns if re.match(r"read_\w+\.py$", n)]
        return [(os.path.relpath(p, ROOT), ["/usr/bin/python3", p], count_summary) for p in sorted(found)]
    if group == "model":
        runner = os.path.join(ROOT, "tests/model/run.py")
        found = sorted(n[:-4] for n in os.listdir(os.path.dirname(runner)) if n.endswith(".pml"))
        return [(n + ".pml", ["/usr/bin/python3", runner, n], count_lines) for n in found]
    folder = os.path.join(ROOT, "tests/integration")
    found = sorted(n for n in os.listdir(folder) if re.match(r"test_\w+\.(py|sh)$", n))
    return [(n, (["/usr/bin/python3"] if n.endswith(".py") else ["bash"]) + [os.path.join(folder, n)],
             count_lines) for n in found]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--build", default="build/dev", help="build tree with the test programs")
    parser.add_argument("--label", default="", help="asan or tsan: which sanitizer the tree has")
    parser.add_argument("--only", default="", help="regular expression over test names")
    parser.add_argument("--all", action="store_true", help="under tsan, programs of one thread, too")
    parser.add_argument("groups", nargs="+", choices=["unit", "sim", "golden", "model", "integration"])
    options = parser.parse_args()
    env = environment(options.build, options.label)
    total = [0, 0, 0]
    for group in options.groups:
        jobs = [j for j in jobs_of(group, options.build, options.label, options.all) if re.search(options.only, j[0])]
        workers = 1 if group == "integration" else 2
        if not jobs and not options.only:
            print(f"not ok - {group}: no test found")
            total[1] += 1
        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            for job, result in zip(jobs, pool.map(lambda j: run(j[1], env), jobs)):
                code, out, seconds = result
                passed, failed, skipped = job[2](code, out)
                total = [total[0] + passed, total[1] + failed, total[2] + skipped]
                mark = "FAIL" if failed else "ok"
                print(f"{options.label + ' ' if options.label else ''}{group}: {job[0]}: {mark} "
                      f"({passed} passed, {failed} failed, {skipped} skipped, {seconds:.1f} s)", flush=True)
                for line in out.split("\n"):
                    if line.startswith("skip - ") or (failed and line.strip()):
                        print("    " + line)
    print(f"{total[0]} passed, {total[1]} failed, {total[2]} skipped")
    return 1 if total[1] else 0


if __name__ == "__main__":
    sys.exit(main())
