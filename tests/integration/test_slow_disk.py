#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A node whose disk takes half a second for each sync: within 10 s it coordinates nothing any more, the others
acknowledge as before, and it keeps its replicas. The disk is slowed down by a library before libc's fdatasync."""
import os
import shutil
import subprocess
import tempfile

import gray
from cluster import Cluster, finish, skip

DELAY_MS = 500


class Disk:
    """What BB_SLOW_SYNC names: one file a process, with the milliseconds."""

    def __init__(self, folder):
        self.folder = folder

    def set(self, pid, delay_ms):
        with open(os.path.join(self.folder, "new"), "w", encoding="ascii") as file:
            file.write(str(delay_ms))
        os.rename(file.name, os.path.join(self.folder, str(pid)))


def library(folder):
    """The compiled library, or None without a compiler."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    path = os.path.join(folder, "slow_sync.so")
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "slow_sync.c")
    if compiler:
        subprocess.run([compiler, "-D_GNU_SOURCE", "-O1", "-shared", "-fPIC", source, "-o", path, "-ldl"], check=True)
    return path if compiler else None


def main():
    with tempfile.TemporaryDirectory(prefix="busbar-disk-") as folder:
        path = library(folder)
        if not path:
            skip("a slow disk", "there is no C compiler")
            finish()
        group = Cluster("--nodes", "3", "--partitions", "64", start=False)
        with group:
            os.environ.update(LD_PRELOAD=path, BB_SLOW_SYNC=folder)
            group.up()
            del os.environ["LD_PRELOAD"]
            with gray.under_load(group) as load:
                p99_ms = gray.healthy(group, load)
                disk = Disk(folder)
                # Slow is what takes three times as long as the others, whatever those take here.
                disk.set(group.pid(gray.VICTIM), max(DELAY_MS, round(4 * p99_ms)))
                gray.demoted(group, load, "a disk that takes half a second a sync", p99_ms)
                disk.set(group.pid(gray.VICTIM), 0)
                gray.kept(group, load)
    finish()


if __name__ == "__main__":
    main()
