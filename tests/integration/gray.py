# SPDX-License-Identifier: Apache-2.0
"""What tests of a node that is up and slow share: who finds it slow, who coordinates, how long acknowledgements take."""
import re
import time

from cluster import PATIENCE_S, Failure, case, expect
from machine import Machine, promised
from test_failover import Load
from test_metrics import get, samples, total

VICTIM, OTHERS = "n2", ("n1", "n3")
BATTERIES, METRICS = 60, 16
SECONDS = 86400  # of the load, which is ended before; 80 of them a second
ROUNDS = 12      # of what a stall of the machine can spoil; one has to be whole


class UnderLoad(Load):
    """A load that goes on until it is ended, and what the machine takes away meanwhile."""

    def __init__(self, group):
        super().__init__(group, 1, speed="80", batteries=BATTERIES, seconds=SECONDS, timeout=f"{PATIENCE_S}s")
        self.machine = Machine(group.folder)

    def __enter__(self):
        self.machine.__enter__()
        return self

    def __exit__(self, *_):
        self.machine.__exit__()
        super().__exit__()


def under_load(group):
    return UnderLoad(group)


def is_slow(group, by):
    return samples(get(group, by, "/metrics")[2])[f'busbar_node_slow{{node="{VICTIM}"}}'] == 1


def verdicts(group, by):
    """How often the node was found slow by another one, and well again."""
    log = group.log(by)
    return [log.count(f'"{text}" node={VICTIM}') for text in ("node is slow, asked last", "node is no longer slow")]


def downs(group, by):
    return group.log(by).count(f'"peer down" node={VICTIM}')


def accepted(group):
    return {node: total(get(group, node, "/metrics")[2], "busbar_points_accepted_total") for node in group.nodes()}


def latencies(group):
    """Acknowledgements of the others by the upper end of their bucket, in seconds, added up."""
    found = {}
    for node in OTHERS:
        for name, count in samples(get(group, node, "/metrics")[2]).items():
            bucket = re.fullmatch(r'busbar_ack_latency_seconds_bucket\{store="\d+",le="(.*)"\}', name)
            if bucket:
                found[float(bucket[1])] = found.get(float(bucket[1]), 0) + count
    return found


def p99_ms(before, after):
    grown = sorted((limit, after[limit] - before[limit]) for limit in after)
    return next(1000 * limit for limit, count in grown if count >= 0.99 * grown[-1][1])


def healthy(group, load, seconds=1.5):
    """The p99 of acknowledgements while all is well."""
    load.wait_for(BATTERIES * METRICS * 60)
    before = latencies(group)
    time.sleep(seconds)
    return p99_ms(before, latencies(group))


def no_slower(group, load, p99_healthy_ms):
    """Points that each took while some were written, and what acknowledgements of the others took in this time."""
    before, then = accepted(group), latencies(group)
    load.wait_for(load.acked + BATTERIES * METRICS * 60)
    taken = {node: count - before[node] for node, count in accepted(group).items()}
    share, p99 = taken[VICTIM] / sum(taken.values()), p99_ms(then, latencies(group))
    print(f"# {100 * share:.1f} % of the points went to {VICTIM}; p99 of the others {p99:.1f} ms, "
          f"{p99_healthy_ms:.1f} ms before", flush=True)
    expect(share < 0.1, f"{VICTIM} still takes {share:.2f} of the points")
    expect(p99 <= max(2 * p99_healthy_ms, 100), f"{p99} ms, {p99_healthy_ms} ms before")


def one_of(rounds, check, *words):
    """The check holds in one of so many rounds. A machine that stands still makes any node slow once; a fault that the
    others suffer from is there in each."""
    for left in reversed(range(rounds)):
        try:
            return check(*words)
        except Failure as failure:
            if left == 0:
                raise
            print(f"# once more: {failure}", flush=True)
    return None


def demoted(group, load, what, p99_healthy_ms):
    """After the fault began: found slow, passed by, and the others no slower for it."""
    with case(f"a node with {what} is found slow by the others within 10 s"):
        begin = time.monotonic()
        group.wait("the verdict", lambda: all(is_slow(group, by) for by in OTHERS), 2 * PATIENCE_S)
        promised(load.machine, "found slow", 10, time.monotonic() - begin)
    with case("then clients coordinate elsewhere, nothing fails, and acknowledgements take no longer"):
        one_of(ROUNDS, no_slower, group, load, p99_healthy_ms)
        expect(load.process.poll() is None, f"the load has ended: {load.lines[-3:]}")


def kept(group, load, may_be_silent=False):
    """One verdict by each of the others, none of them took it for down (unless the fault silences it), and it has
    every point. Ends the load."""
    with case("one verdict, no false alarm; it has kept its replicas and every acknowledged point"):
        expect(load.process.poll() is None, f"the load has ended: {load.lines[-3:]}")
        points = load.end()
        stalls = load.machine.stalled()[0]
        for by in OTHERS:
            slow, well = verdicts(group, by)
            expect(slow <= 1 + stalls and well <= slow, f"{by} found it slow {slow} times, and well {well} times")
            expect(may_be_silent or downs(group, by) <= stalls, f"{by} took it for down {downs(group, by)} times: {load.machine.tell()}")
        group.wait_in_step()
        found = {node: group.count("--consistency", "one", "--node", node) for node in group.nodes()}
        expect(set(found.values()) == {points}, f"{found} of {points} points")
