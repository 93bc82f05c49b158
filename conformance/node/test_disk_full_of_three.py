"""The disk of one of three nodes is full: the other two go on at QUORUM, the full one says why it takes nothing, goes on to answer
reads and to coordinate, and when there is room it takes writes again and is brought up to date, without anybody's help.
"""

import random
import re

import pytest
from cassandra import Unavailable, WriteFailure, WriteTimeout
from cassandra.cluster import NoHostAvailable
from cassandra.protocol import ServerError
from clusters import ALL, ONE, QUORUM, SMALL, Three, command, eventually, run, token, up
from test_disk_full import disk, mount  # noqa: F401 (a fixture)
from test_truncate import hints

pytestmark = pytest.mark.privileged

ROW_BYTES = 400_000
KEYS_MAX = 800
REFUSED = (WriteFailure, WriteTimeout, ServerError, Unavailable, NoHostAvailable)


def value(key):
    """What cannot be compressed, and can be told again."""
    return random.Random(key).randbytes(ROW_BYTES)


def form(disk, make_node):
    """Three nodes, the last of them on a small disk; and a session at each."""
    three = Three(make_node)
    three.add()
    three.add()
    first = three.nodes[0]
    full = make_node(arguments=[*SMALL, "--rack", "rack3", "--join", f"{first.address}:7000", "--token", token(first)],
                     data_dir=disk / "node")
    full.start()
    three.nodes.append(full)
    for node in three.nodes:
        eventually("all are in the ring", lambda node=node: up(node) == 3)
    run(three.session(first), "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 3}")
    run(three.session(first), "CREATE TABLE k.t (k int PRIMARY KEY, v blob)")
    return three, [three.session(node) for node in three.nodes]


class Rows:
    """Statements at one node."""

    def __init__(self, session):
        self.session = session
        self.insert = session.prepare("INSERT INTO k.t (k, v) VALUES (?, ?)")
        self.select = session.prepare("SELECT v FROM k.t WHERE k = ?")

    def write(self, key, level):
        self.insert.consistency_level = level
        self.session.execute(self.insert, (key, value(key)))

    def shows(self, key, level):
        self.select.consistency_level = level
        row = self.session.execute(self.select, (key,)).one()
        return row is not None and row.v == value(key)


def trouble(node):
    text = command(node, "status")[1]
    return "TROUBLE" in text and "the disk is full" in text


def test_two_of_three_go_on_when_the_disk_of_the_third_is_full(disk, make_node):  # noqa: F811
    three, sessions = form(disk, make_node)
    full = three.nodes[2]
    first, second, third = [Rows(session) for session in sessions]

    # A level that needs the full one is refused in the end, and the reason is told.
    acknowledged, refused = [], []
    for key in range(KEYS_MAX):
        try:
            first.write(key, ALL)
            acknowledged.append(key)
        except REFUSED as error:
            refused.append(str(error))
            if len(refused) == 5:
                break
    assert len(acknowledged) > 100, (len(acknowledged), refused)
    assert len(refused) == 5, "the disk is not full"
    assert all("the disk is full" in text for text in refused), "\n".join(refused)
    eventually("it says so", lambda: trouble(full))

    # At QUORUM through nodes with room, no write fails, whatever the third says.
    beyond = range(KEYS_MAX, KEYS_MAX + 50)
    for key in beyond:
        (first, second)[key % 2].write(key, QUORUM)
    acknowledged += beyond

    # The full one coordinates: its own copy is one of three.
    third.write(10_001, QUORUM)
    acknowledged.append(10_001)
    assert all(third.shows(key, QUORUM) for key in acknowledged[::3])
    assert all(first.shows(key, QUORUM) for key in beyond)
    assert not trouble(three.nodes[0]) and not trouble(three.nodes[1])

    # Room comes, and nobody does anything else.
    mount(disk, 900, "remount")
    eventually("it says that all is well", lambda: not trouble(full))

    def takes_writes():
        try:
            first.write(10_002, ALL)
        except REFUSED:
            return False
        return True
    eventually("writes that need it succeed", takes_writes)
    eventually("no hint waits", lambda: all(hints(node, "waiting") == 0 for node in three.nodes))
    # What it missed comes by hints; but not its own copy of what it coordinated, as it had no room to keep a hint either.
    said = [command(node, "tables", "repair", "k") for node in three.nodes]
    assert all(code == 0 for code, _ in said), said
    assert sum(int(count) for _, text in said for count in re.findall(r"(\d+) mutations", text)) <= len(refused) + 1, said
    # Its own copy answers, the only one that is asked for.
    for node in three.nodes[:2]:
        node.kill()
    session = three.reconnect(full)
    eventually("it sees that it is alone", lambda: up(full) == 1)
    alone = Rows(session)
    missing = [key for key in [*acknowledged, 10_002] if not alone.shows(key, ONE)]
    assert not missing, f"{len(missing)} of {len(acknowledged) + 1} are not there: {missing[:10]}"
    three.close()
