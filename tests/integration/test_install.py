#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What `cmake --install` puts on a machine: programs that answer, a library that a C program finds
with pkg-config and that exports nothing but busbar_ names."""
import os
import re
import shutil
import subprocess
import tempfile

import cluster
from cluster import BIN, ROOT, BUSBAR, BUSBARD, Cluster, case, expect

BUILD = os.path.dirname(BIN)


def sh(*words, env=None, timeout_s=120):
    return subprocess.run(words, capture_output=True, text=True, timeout=timeout_s, check=False,
                          env={**os.environ, **(env or {})})


def good(*words, **options):
    done = sh(*words, **options)
    expect(done.returncode == 0, f"{' '.join(words[:3])}: {done.returncode}: {(done.stdout + done.stderr)[-800:]}")
    return done.stdout


def programs():
    return [p for p in (BUSBAR, BUSBARD, os.path.join(BIN, "busbar-sim")) if os.access(p, os.X_OK)]


def find(prefix, name):
    found = [os.path.join(base, n) for base, _, names in os.walk(prefix) for n in names if n == name]
    expect(found, f"{name} is not installed")
    return found[0]


def main():
    with case("every program says its version and its help"):
        expect(len(programs()) == 3, f"only {programs()} are built")
        for program in programs():
            name = os.path.basename(program)
            if name != "busbar-sim":  # a test program, not installed
                expect(re.match(rf"{name} \d+\.\d+\.\d+", good(program, "--version")), f"{name} --version")
            expect("Usage" in good(program, "--help") or "usage" in good(program, "--help"), f"{name} --help")
    with case("every verb has a help of its own"):
        for verb in ("status", "write", "import", "query", "last", "battery", "quarantine", "settle", "simulate"):
            text = good(BUSBAR, verb, "--help")
            expect(text.startswith(f"busbar {verb}") and "--" in text, f"{verb}: {text[:200]}")
    if not os.path.exists(os.path.join(BUILD, "cmake_install.cmake")):
        cluster.skip("cmake --install", "the programs are not in a build tree")
        cluster.finish()
    prefix = tempfile.mkdtemp(prefix="busbar-install-")
    try:
        with case("cmake --install fills a prefix"):
            good("cmake", "--install", BUILD, "--prefix", prefix)
            for name in ("busbar", "busbard", "busbar.h", "busbar.pc", "libbusbar.so", "libbusbar.a"):
                find(prefix, name)
            expect(sh(find(prefix, "busbar"), "--version").returncode == 0, "the installed busbar does not run")
        with case("the shared library exports busbar_ names only"):
            names = [line.split()[-1].split("@")[0] for line in
                     good("nm", "-D", "--defined-only", find(prefix, "libbusbar.so")).splitlines()]
            ours = [n for n in names if n.startswith("busbar_")]
            others = [n for n in names if not n.startswith(("busbar_", "BUSBAR", "_init", "_fini", "__bss", "_edata", "_end"))]
            expect(len(ours) > 20 and not others, f"{len(ours)} of ours, and {others[:10]}")
        with case("a C program compiles with pkg-config and talks to a cluster"):
            env = {"PKG_CONFIG_PATH": os.path.dirname(find(prefix, "busbar.pc"))}
            # The file says where it was installed by default; the prefix is where it is now.
            flags = good("pkg-config", f"--define-variable=prefix={prefix}", "--cflags", "--libs", "busbar",
                         env=env).split()
            with Cluster("--nodes", "1") as group:
                libraries = os.path.dirname(find(prefix, "libbusbar.so"))
                for example in ("write", "query"):
                    source = os.path.join(ROOT, "client/examples", f"{example}.c")
                    program = os.path.join(prefix, example)
                    good("cc", "-std=c11", "-D_GNU_SOURCE", source, "-o", program, *flags)
                    out = good(program, group.client(), env={"LD_LIBRARY_PATH": libraries})
                    expect(out.strip(), f"{example} says nothing")
    finally:
        shutil.rmtree(prefix, ignore_errors=True)
    cluster.finish()


if __name__ == "__main__":
    main()
