# SPDX-License-Identifier: Apache-2.0
"""What replication costs between three nodes: bytes on the wire, keeping in step, catching up."""
import os
import threading
import time

from yardstick import START_MS, Broken, Cluster

LIMIT_S = 300  # for a node to catch up
HOUR_MS = 3600 * 1000
SENT = r'busbar_socket_sent_bytes(_total)?\{socket="(%s)"\}'
TAKEN = r'busbar_socket_received_bytes(_total)?\{socket="client"\}'
HAVE_BYTES = r"busbar_have_bytes_total(\{.*\})?"
HAVE_SECONDS = r"busbar_have_seconds_total(\{.*\})?"


def traffic(bench, folder, generator, data):
    """Ratios while one tick after the other, full load and half load are written, to nodes that know each other."""
    first = generator.raw(os.path.join(folder, "first.raw"), 1, START_MS + 40 * 24 * HOUR_MS)
    with Cluster(folder, "traffic", 3) as cluster:
        bench("load", cluster.folder, "", *first)
        time.sleep(1.5)
        patterns = {"peers": SENT % "peer|bulk", "clients": TAKEN, "bytes": HAVE_BYTES, "seconds": HAVE_SECONDS}
        time.sleep(1.5)  # /metrics is a second old
        before = {name: cluster.total(pattern) for name, pattern in patterns.items()}
        begin = time.monotonic()
        bench("latency", cluster.folder, "_3node", *data)
        seconds = time.monotonic() - begin
        time.sleep(1.5)
        grown = {name: cluster.total(pattern) - before[name] for name, pattern in patterns.items()}
    if first[0] == "--data":
        os.unlink(first[1])
    if grown["clients"] <= 0 or grown["bytes"] <= 0:
        raise Broken(f"no traffic was counted: {grown}")
    note = f"3 nodes, {seconds:.0f} s of a tick at a time, full load and half load"
    return {
        "replication_bytes_ratio": (grown["peers"] / grown["clients"] / 2, "x",
                                    "bytes sent to peers, heartbeats and have-sets included, for each of two more "
                                    "copies, to the bytes that clients sent"),
        "antientropy_kb_per_s": (grown["bytes"] / seconds / 3 / 1000, "KB/s a pair", f"have-sets asked for and told; {note}"),
        "antientropy_cpu_pct": (grown["seconds"] / seconds / 3 * 100, "% of a core a node", f"the same; {note}"),
    }


def lag(cluster, node):
    """Chunks that the node lacks, as far as anybody knows."""
    name = f'busbar_node_lag_chunks{{node="{node}"}}'
    return max(cluster.metrics(other).get(name, 0) for other in cluster.each())


def catch_up(bench, folder, generator, hours):
    """A node is away while `hours` arrive, and comes back while as many more do. Compared with as many before, when heads
    are full and are being sealed, as they are then: writers to empty heads are faster, whoever comes back."""
    data = [generator.raw(os.path.join(folder, f"catch-up-{i}.raw"), hours, START_MS + i * 24 * HOUR_MS) for i in range(4)]
    points = hours * 360 * 12000
    rates = []

    def write(i):
        rates.append(bench("load", cluster.folder, "", *data[i])["ingest_native_mpts_per_s"][0])

    with Cluster(folder, "catch-up", 3) as cluster:
        node = cluster.each()[-1]
        write(0)
        write(1)
        cluster.end(node)
        write(2)
        begin = time.monotonic()
        starter = threading.Thread(target=cluster.start, args=(node,))
        starter.start()
        write(3)
        starter.join()
        time.sleep(1.0)
        while lag(cluster, node) > 0:
            if time.monotonic() - begin > LIMIT_S:
                raise Broken(f"the node still lacks {lag(cluster, node):.0f} chunks after {LIMIT_S} s")
            time.sleep(0.1)
        seconds = time.monotonic() - begin
    for options in data:
        if options[0] == "--data":
            os.unlink(options[1])
    note = f"{points / 1e6:.2f} M points arrived while one of three nodes was away, as many when it came back"
    return {
        "catchup_s": (seconds, "s", f"from its start until it lacks nothing that anybody knows of; {note}"),
        "catchup_ingest_loss_pct": (max(0.0, 100 * (1 - rates[3] / rates[1])), "%",
                                    f"points a second while it caught up ({rates[3]:.1f} M), fewer than with three nodes before "
                                    f"({rates[1]:.1f} M; {rates[0]:.1f} M into empty heads); 0: not fewer; {note}"),
    }
