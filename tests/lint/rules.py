#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The project's own lint rules; each finding is `file:line: rule`.

layers    includes point downwards only: protocol <- storage <- node; protocol <- cluster-config
          <- node and client; node and client never include each other; czmq.h and zmq.h only where
          sockets live
units     a numeric variable, field or parameter named after a waiting time says its unit
size      no source file over 1,000 lines
licence   SPDX identifier in the first three lines
paths     no absolute path of somebody's machine
sleeps    a unit test waits for what happens, with a deadline; it never sleeps
"""
import re
import subprocess
import sys

ALLOWED = {
    "protocol": {"protocol"},
    "storage": {"protocol", "storage"},
    "cluster-config": {"protocol", "cluster-config"},
    "node": {"protocol", "storage", "cluster-config", "node"},
    "client": {"protocol", "cluster-config", "client"},
    "tests": {"protocol", "storage", "cluster-config", "node", "client", "tests"},
}
# The data verbs of the command line stand on the public header alone; cluster verbs and the pure
# text helpers they share may use protocol and cluster-config.
UNIT = re.compile(r"(_ns|_us|_ms|_s|_mono|_wall|_fn|_count|_max|_min|_total|_sum|_buckets|_t)$")
WAIT = re.compile(
    r"\b(?:u?int(?:8|16|32|64)_t|size_t|int|long|unsigned|double|float)\s+"
    r"(\w*(?:timeout|interval|delay|linger|backoff|latency|duration)\w*)\s*[;,=)\[]")
LINES_MAX = 1000


def tracked():
    out = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True).stdout
    return out.split("\n")[:-1]


def check(path, findings):
    text = open(path, encoding="utf-8").read()
    lines = text.split("\n")
    layer = path.split("/")[0]
    if not any("SPDX-License-Identifier: Apache-2.0" in line for line in lines[:3]):
        findings.append(f"{path}:1: licence: no SPDX identifier in the first three lines")
    if len(lines) - 1 > LINES_MAX:
        findings.append(f"{path}:{len(lines) - 1}: size: over {LINES_MAX} lines")
    for number, line in enumerate(lines, 1):
        where = f"{path}:{number}"
        if re.search(r'"/(?:work|root|home)/', line):
            findings.append(f"{where}: paths: absolute path of a machine")
        if not path.endswith((".c", ".h", ".cc")):
            continue
        include = re.match(r'\s*#\s*include\s+([<"])([^>"]+)[>"]', line)
        if include and include.group(1) == '"' and layer in ALLOWED:
            target = include.group(2).split("/")[0]
            if "/" in include.group(2) and target in ALLOWED and target not in ALLOWED[layer]:
                findings.append(f"{where}: layers: {layer} must not include {include.group(2)}")
        if include and include.group(2) == "czmq.h":
            if not (path.startswith("node/runtime/") or path.endswith("_actor.c")
                    or path == "node/busbard.c"):
                findings.append(f"{where}: layers: czmq.h outside node/runtime and *_actor.c")
        if include and include.group(2) == "zmq.h" and layer in ("protocol", "storage", "cluster-config"):
            findings.append(f"{where}: layers: zmq.h below node and client")
        if path.startswith("tests/unit/") and re.search(r"\b(?:u|nano)?sleep\s*\(", line):
            findings.append(f"{where}: sleeps: a unit test sleeps")
        if layer != "tests":
            for match in WAIT.finditer(line.split("//")[0]):
                if not UNIT.search(match.group(1)):
                    findings.append(f"{where}: units: '{match.group(1)}' does not say its unit")


def main():
    findings = []
    for path in tracked():
        if path.endswith((".c", ".h", ".cc", ".py", ".sh", ".fbs")) or path in (".ci/run", ".ci/lint", ".ci/deps"):
            check(path, findings)
    print("\n".join(findings), file=sys.stderr, end="\n" if findings else "")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
