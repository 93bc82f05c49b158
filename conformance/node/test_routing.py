"""Do drivers ask a node that has what they want? Counted by the nodes, while the tablets they look for move."""

import os
import re
import subprocess
import urllib.request

import pytest
from clusters import QUORUM, eventually, run, up

KEYS = 2000


def routed(three):
    """How many statements about one tablet came to a node that has it, and to one that has not."""
    counts = {"replica": 0, "another": 0}
    for node in three.nodes:
        with urllib.request.urlopen(f"http://{node.address}:7070/metrics", timeout=10) as answer:
            for chosen, count in re.findall(r'holon_cql_routed_total\{[^}]*node="(\w+)"[^}]*\} (\d+)', answer.read().decode()):
                counts[chosen] += int(count)
    return counts


def share(before, after):
    at_replica, elsewhere = (after[chosen] - before[chosen] for chosen in ("replica", "another"))
    assert at_replica + elsewhere >= KEYS, (before, after)
    return at_replica / (at_replica + elsewhere)


def shares(three, work):
    """Of what `work` asks, the share that comes to a replica: at rest, and while a node joins. None of it may fail."""
    start = routed(three)
    work()
    rest = routed(three)
    three.add(wait=False)
    rounds = 0
    while rounds < 3 or any(up(node) < len(three.nodes) for node in three.nodes[:-1]):
        work()
        rounds += 1
        assert rounds < 100, "the node does not join"
    three.nodes[-1].wait_ready()
    eventually("the newcomer knows it", lambda: up(three.nodes[-1]) == len(three.nodes))
    return share(start, rest), share(rest, routed(three))


def check(driver, at_rest, joining):
    print(f"{driver}: {100 * at_rest:.2f} % of the statements come to a replica at rest, {100 * joining:.2f} % while a node joins")
    # The join moves a fifth of the data, and drivers read the ring anew when it has ended.
    assert at_rest >= 0.99 and joining >= 0.75


@pytest.fixture
def four(cluster):
    """More nodes than replicas, so that it matters which one is asked."""
    four = cluster(insecure=True).form(4)
    session = four.session(four.nodes[0])
    run(session, "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 2}")
    run(session, "CREATE TABLE k.t (k int PRIMARY KEY, v int)")
    return four


def test_the_python_driver_asks_a_replica(four):
    _, session = four.any_session()
    insert = session.prepare("INSERT INTO k.t (k, v) VALUES (?, ?)")
    insert.consistency_level = QUORUM

    def work():
        for first in range(0, KEYS, 100):
            for future in [session.execute_async(insert, (key, key)) for key in range(first, first + 100)]:
                future.result()

    check("Python driver", *shares(four, work))


def test_the_rust_driver_asks_a_replica(four):
    program = os.environ.get("HOLON_RUST_DRIVER", "")
    if not os.path.exists(program):
        pytest.fail(f"HOLON_RUST_DRIVER: there is no program at {program!r}; `cargo xtask test build` makes it")

    def work():
        done = subprocess.run([program, f"{four.nodes[0].address}:9042", "write", "k.t", str(KEYS)], capture_output=True,
                              text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr

    check("Rust driver", *shares(four, work))
