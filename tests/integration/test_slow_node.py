#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A node that gets a twentieth of a processor: within 10 s it coordinates nothing any more and passes nothing on, it
keeps its replicas, nothing fails, and it has its turn again when it is well."""
import contextlib
import os
import signal
import threading
import time

import gray
from cluster import PATIENCE_S, Cluster, case, finish


class Starved:
    """Stops the process for 95 of every 100 ms."""

    def __init__(self, pid):
        self.pid, self.over = pid, threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        with contextlib.suppress(ProcessLookupError):
            while not self.over.is_set():
                os.kill(self.pid, signal.SIGSTOP)
                time.sleep(0.095)
                os.kill(self.pid, signal.SIGCONT)
                time.sleep(0.005)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join(10)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)


def main():
    with Cluster("--nodes", "3", "--partitions", "64") as group:
        with gray.under_load(group) as load:
            p99_ms = gray.healthy(group, load)
            with Starved(group.pid(gray.VICTIM)):
                gray.demoted(group, load, "5 % of a processor", p99_ms)
            with case("when it is well it has its turn again"):
                group.wait("its return", lambda: not any(gray.is_slow(group, by) for by in gray.OTHERS), 2 * PATIENCE_S)
                before = gray.accepted(group)[gray.VICTIM]
                group.wait("points that it takes", lambda: gray.accepted(group)[gray.VICTIM] > before)
            gray.kept(group, load, may_be_silent=True)
    finish()


if __name__ == "__main__":
    main()
