#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Searches the Promela models of this folder completely, with Spin.

run.py [MODEL...]           each model holds in every state it can be in, every step of it is taken
                            somewhere, its goal is reached, and each mutant of it is found
run.py --trace MODEL NAME   the shortest way to what the mutant breaks (or to the goal: GOAL)

The head of a model says what it has:
    RULE name place     a rule of a core; the header `place` names the model and the rule, - if there
                        is no code yet
    MUTANT NAME rule:   -DNAME breaks that rule; each rule has one
    GOAL                -DGOAL fails in a state that shows that the model is not empty
Prints `ok - name`, `not ok - name: why` or `skip - name: why` per case and, at the end,
`N passed, M failed, K skipped`. Without spin all are skipped, unless BB_CI is set.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

FOLDER = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(FOLDER))
SEARCH_S_MAX = 240  # about a minute is normal
MEMORY_MB_MAX = 2048
DEPTH_MAX = 1000000


class Model:
    """The source of a model and what its head says."""

    def __init__(self, name):
        self.name = name
        self.path = os.path.join(FOLDER, name + ".pml")
        with open(self.path, encoding="utf-8") as file:
            text = file.read()
        self.rules = dict(re.findall(r"^// RULE (\S+) +(\S+)$", text, re.M))
        self.mutants = dict(re.findall(r"^// MUTANT (\w+) +([\w-]+): ", text, re.M))
        self.has_goal = re.search(r"^// GOAL ", text, re.M) is not None


class Search:
    """One search of a model with one switch, in a folder of its own."""

    def __init__(self, model, switch, folder, is_shortest):
        self.model, self.folder = model, folder
        self.switches = ["-D" + switch] if switch else []
        begin = time.monotonic()
        # A shortest way to a fault is found breadth first; a whole search is cheaper depth first.
        order = ["-DBFS"] if is_shortest else []
        self.call(["spin", "-a"] + self.switches + [model.path])
        self.call(["gcc", "-O2", "-w", "-DSAFETY", "-DNOFAIR", f"-DMEMLIM={MEMORY_MB_MAX}"] + order
                  + ["-o", "pan", "pan.c"])
        self.out = self.call(["./pan", f"-m{DEPTH_MAX}"])
        self.seconds = time.monotonic() - begin
        found = re.search(r"errors: (\d+)", self.out)
        self.errors = int(found.group(1)) if found else -1
        found = re.search(r"([\d.e+]+) states, stored", self.out)
        self.states = int(float(found.group(1))) if found else 0

    def call(self, command):
        done = subprocess.run(command, cwd=self.folder, stdout=subprocess.PIPE, check=False,
                              stderr=subprocess.STDOUT, timeout=SEARCH_S_MAX)
        out = done.stdout.decode("utf-8", "replace")
        if done.returncode != 0:
            raise RuntimeError(f"{command[0]} ended with {done.returncode}: {out[-400:]}")
        return out

    def is_whole(self):
        """Nothing was left out of the search."""
        return self.states > 0 and not re.search(
            r"max search depth too small|out of memory|reached -DMEMLIM|Search not completed", self.out)

    def never_taken(self):
        """Steps of the model that the search never took; the end of the process is one."""
        steps = re.findall(r"^\t\S+:(\d+), state \d+, \"(.*)\"$", self.out, re.M)
        return [f"line {line}" for line, text in steps if text != "-end-"]

    def trace(self):
        """What is printed on the way to the fault."""
        shutil.copy(self.model.path, self.folder)
        trail = self.model.name + ".pml.trail"
        if not os.path.exists(os.path.join(self.folder, trail)):
            return []
        out = self.call(["spin", "-t", "-k", trail] + self.switches + [self.model.path])
        lines = [line.strip() for line in out.split("\n")]
        end = next((i for i, line in enumerate(lines) if line.startswith("spin: ")), len(lines))
        return [line for line in lines[:end] if line] + lines[end:end + 1]


def check_rules(model):
    """Each rule is in the header that it names, and has a mutant."""
    for rule, place in model.rules.items():
        if rule not in model.mutants.values():
            return f"rule {rule} has no mutant"
        if place == "-":
            continue
        with open(os.path.join(ROOT, place), encoding="utf-8") as file:
            text = file.read()
        if f"tests/model/{model.name}.pml" not in text or not re.search(rf"\b{rule}\b", text):
            return f"{place} does not name tests/model/{model.name}.pml and {rule}"
    unknown = [r for r in model.mutants.values() if r not in model.rules]
    return f"no rule {unknown[0]}" if unknown else ""


def check_model(model, folder):
    search = Search(model, "", folder, False)
    if search.errors != 0:
        return "\n    ".join(["a state breaks it"] + search.trace()), ""
    if not search.is_whole():
        return "the search is not whole: " + search.out[:400], ""
    never = search.never_taken()
    if never:
        return "steps that were never taken: " + ", ".join(never), ""
    return "", f"{search.states} states, {search.seconds:.1f} s"


def check_found(model, switch, folder):
    search = Search(model, switch, folder, switch != "GOAL")
    if search.errors != 1 or "assertion violated" not in search.out:
        return f"not found in {search.states} states", ""
    return "", f"{len(search.trace()) - 1} steps, {search.states} states, {search.seconds:.1f} s"


def cases_of(model):
    cases = [(f"{model.name}: rules have places and mutants", lambda _: (check_rules(model), "")),
             (f"{model.name}: holds", lambda folder: check_model(model, folder))]
    for switch in (["GOAL"] if model.has_goal else []) + list(model.mutants):
        name = f"{model.name}: " + ("goal is reached" if switch == "GOAL" else f"{switch} is found")
        cases.append((name, lambda folder, s=switch: check_found(model, s, folder)))
    return cases


def main():
    arguments = sys.argv[1:]
    names = sorted(n[:-4] for n in os.listdir(FOLDER) if n.endswith(".pml"))
    is_trace = arguments[:1] == ["--trace"] and len(arguments) == 3
    chosen = arguments[1:2] if is_trace else arguments or names
    if any(n not in names for n in chosen):
        print(__doc__, file=sys.stderr)
        return 2
    if is_trace:
        with tempfile.TemporaryDirectory() as folder:
            print("\n".join(Search(Model(chosen[0]), arguments[2], folder, True).trace()))
        return 0
    absent = [tool for tool in ("spin", "gcc") if shutil.which(tool) is None]
    passed = failed = skipped = 0
    for name, check in [case for n in chosen for case in cases_of(Model(n))]:
        if absent and not os.environ.get("BB_CI"):
            print(f"skip - {name}: {absent[0]} is not installed")
            skipped += 1
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                why, figures = check(folder)
            except (OSError, RuntimeError, subprocess.TimeoutExpired) as error:
                why, figures = str(error), ""
        print(f"not ok - {name}: {why}" if why else f"ok - {name}" + (f" ({figures})" if figures else ""),
              flush=True)
        passed, failed = passed + (not why), failed + bool(why)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
