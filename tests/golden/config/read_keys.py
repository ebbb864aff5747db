#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every key that the parser of busbard.yaml knows is in the manual page and in the table of the README."""
import os
import re
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..")
SOURCES = ["cluster-config/bb_config.c", "cluster-config/bb_config_policy.c"]


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def keys():
    """(source, key) for every list of keys that a mapping allows."""
    found = []
    for source in SOURCES:
        for body in re.findall(r"const char \*const \w*keys\[\]\s*=\s*\{(.*?)\}", read(source), re.S):
            found += [(source, key) for key in re.findall(r'"(\w+)"', body)]
    return found


def main():
    page = set(re.findall(r"\w+", "\n".join(line for line in read("docs/man/busbard.8").split("\n")
                                             if re.match(r"\.(It )?Ic ", line))))
    table = {word for name in re.findall(r"`([\w.\[\]]+)`", read("cluster-config/README.md"))
             for word in re.findall(r"\w+", name)}
    found = keys()
    failed = 0
    if len(found) < 40:
        print(f"not ok - the lists of keys were not found ({len(found)})")
        failed += 1
    for source, key in found:
        for where, names in (("docs/man/busbard.8", page), ("cluster-config/README.md", table)):
            if key not in names:
                print(f"not ok - key '{key}' of {source} is not in {where}")
                failed += 1
    print(f"{len(found) if not failed else 0} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
