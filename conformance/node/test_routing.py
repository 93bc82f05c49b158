"""Do drivers ask a node that has what they want? Counted by the nodes, while the tablets they look for move. And do they follow,
from one contact point, which nodes there are and what the tables look like?

The drivers for Go and Node.js are asked, too, where `cargo xtask test --all` has built their programs.
"""

import os
import re
import subprocess
import threading
import urllib.request

import pytest
from cassandra.cluster import Cluster
from clusters import QUORUM, command, eventually, run, table, up

KEYS = 2000
#: Drivers that are asked through a program, and what names it.
PROGRAMS = {"rust": "HOLON_RUST_DRIVER", "go": "HOLON_GO_DRIVER", "node": "HOLON_NODE_DRIVER"}
BUILT = [driver for driver, variable in PROGRAMS.items() if driver == "rust" or variable in os.environ]


def program(driver, node, *words):
    known = os.environ.get(PROGRAMS[driver], "").split()
    if not known or not os.path.exists(known[-1]):
        pytest.fail(f"{PROGRAMS[driver]}: there is no program at {known}; `cargo xtask test build` makes it")
    # Gocql's name for a port of its own is another one; 9042 is every driver's default.
    return [*known, node.address if driver == "go" else f"{node.address}:9042", *words]


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


@pytest.mark.parametrize("driver", BUILT)
def test_other_drivers_ask_a_replica(four, driver):
    def work():
        done = subprocess.run(program(driver, four.nodes[0], "write", "k.t", str(KEYS)), capture_output=True, text=True,
                              timeout=120, check=False)
        assert done.returncode == 0, done.stderr

    check(f"{driver} driver", *shares(four, work))


class PythonFollows:
    """What the Python driver knows that was told of one node."""

    def __init__(self, node):
        self.cluster = Cluster([node.address], protocol_version=5)
        self.cluster.connect()

    def hosts(self):
        return {host.address for host in self.cluster.metadata.all_hosts()}

    def columns(self):
        return set(self.cluster.metadata.keyspaces["k"].tables["t"].columns)

    def close(self):
        self.cluster.shutdown()


class ProgramFollows:
    """The same of a driver's program, which prints a line whenever something has changed."""

    def __init__(self, driver, node):
        self.known = {}
        self.process = subprocess.Popen(program(driver, node, "follow", "k.t"), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            what, *words = line.split()
            self.known[what] = set(words)

    def hosts(self):
        return self.known.get("hosts")

    def columns(self):
        return self.known.get("columns")

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


@pytest.mark.parametrize("driver", ["python", *BUILT])
def test_drivers_follow_the_cluster_from_one_contact_point(cluster, driver):
    three = cluster(insecure=True).form()
    table(three)
    addresses = {node.address for node in three.nodes}
    seen = PythonFollows(three.nodes[0]) if driver == "python" else ProgramFollows(driver, three.nodes[0])
    try:
        eventually("all three are known", lambda: seen.hosts() == addresses, 30)
        eventually("the table is known", lambda: seen.columns() == {"k", "v"}, 30)
        # Changed through another node: the event is what tells of it. The Rust driver heeds it at its next refresh, once a minute.
        run(three.session(three.nodes[2]), "ALTER TABLE k.t ADD w int")
        eventually("the new column is known", lambda: seen.columns() == {"k", "v", "w"}, 90 if driver == "rust" else 30)
        fourth = three.add()
        eventually("the newcomer is known", lambda: seen.hosts() == {*addresses, fourth.address}, 30)
        # Tablets may still move to it.
        eventually("the drain is accepted", lambda: command(three.nodes[0], "cluster", "drain", fourth.address)[0] == 0)
        eventually("who left is forgotten", lambda: seen.hosts() == addresses, 60)
        assert fourth.wait_end(60) == 0
    finally:
        seen.close()
