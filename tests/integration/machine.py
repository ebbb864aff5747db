# SPDX-License-Identifier: Apache-2.0
"""What the machine itself takes away while a promise in seconds is looked at.

Whether a test passes must not depend on how busy the machine is, and a node that should do something within 10 s
cannot when it is stopped for 8 of them. So a thread does, all the time, what takes a known time on a machine that has
nothing else to do: it sleeps, counts, and syncs a few bytes where the nodes have their disks. What these take longer is
how much slower everything is, nodes included. Seconds are always printed; they fail a case only beyond what was
measured beside it, so that a promise that is broken by itself is broken everywhere."""
import os
import tempfile
import threading
import time

from cluster import expect

SLEEP_S = 0.05
COUNT_S = 0.004      # of a processor
SYNC_S = 0.02        # what a sync may take without being called slow
STALL_S = 0.1        # held up for longer than this at once: heartbeats are missed


class Machine:
    """Measures from the beginning of the block to its end."""

    def __init__(self, folder):
        self.folder = folder
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.lock = threading.Lock()
        self.begin = time.monotonic()
        self.counted_s = self.counting_s = 0.0  # processor time that was used, and what it took
        self.stalls = []                        # (when it ended, seconds), of sleeps, counts and syncs

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def _run(self):
        with tempfile.TemporaryFile(dir=self.folder) as file:
            while not self.over.is_set():
                begin = time.monotonic()
                time.sleep(SLEEP_S)
                slept, used = time.monotonic(), time.thread_time()
                while time.thread_time() - used < COUNT_S:
                    pass
                counted, used = time.monotonic(), time.thread_time() - used
                os.pwrite(file.fileno(), b"x" * 512, 0)
                os.fdatasync(file.fileno())
                synced = time.monotonic()
                with self.lock:
                    self.counted_s += used
                    self.counting_s += counted - slept
                    late = slept - begin - SLEEP_S + max(0, synced - counted - SYNC_S)
                    if late + counted - slept > STALL_S:
                        self.stalls.append((synced, late + counted - slept))

    def factor(self):
        """How many times longer work takes than on a processor of its own; at least 1."""
        with self.lock:
            return max(1.0, self.counting_s / max(self.counted_s, 1e-9))

    def stalled(self):
        """(times, seconds): how often everything was held up, and for how long in all."""
        with self.lock:
            return len(self.stalls), sum(seconds for _, seconds in self.stalls)

    def allowed_s(self, promised_s):
        """What a promise in seconds comes to on this machine. A stall costs what it lasts, and what had been seen
        before it, which a node rightly forgets: up to 5 s."""
        times, seconds = self.stalled()
        return promised_s * self.factor() + seconds + 5 * times

    def tell(self):
        times, seconds = self.stalled()
        return f"work took {self.factor():.1f} times as long as alone, {times} stalls of {seconds:.1f} s in all"


def promised(machine, what, promised_s, took_s):
    """Prints what a promise came to, and fails when the machine does not explain that it was broken."""
    allowed_s = machine.allowed_s(promised_s)
    print(f"# {what} after {took_s:.2f} s, {promised_s} s are promised; {machine.tell()}", flush=True)
    expect(took_s <= allowed_s, f"{what} only after {took_s:.2f} s, {allowed_s:.2f} s allowed: {machine.tell()}")
