"""`holon backup` and `holon restore` with real processes: taken under load, brought back into clusters of other sizes, with what
can go wrong on the way.
"""

import itertools
import pathlib
import shutil
import threading
import time

import pytest
from cassandra.query import BatchStatement, BatchType, SimpleStatement
from clusters import ALL, ONE, QUORUM, command, eventually, run

NAME = "monday"
TABLES = {
    "plain": "k int PRIMARY KEY, v text, n int",
    "wide": "p int, c int, s text STATIC, v text, PRIMARY KEY (p, c)",
    "rich": "k int PRIMARY KEY, l list<text>, m map<text, int>, s set<int>, u frozen<thing>, d int",
    "counted": "k int PRIMARY KEY, n counter",
    "left": "k int PRIMARY KEY, v int",
    "right": "k int PRIMARY KEY, v int",
}


def ok(node, *words):
    code, text = command(node, *words)
    assert code == 0, (words, text)
    return text


def refused(node, *words):
    code, text = command(node, *words)
    assert code != 0, (words, text)
    return text


def make_schema(session, factor):
    run(session, f"CREATE KEYSPACE k WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': {factor}}}")
    run(session, "CREATE TYPE k.inner (a int, b text)")
    run(session, "CREATE TYPE k.thing (name text, inside frozen<inner>)")
    for name, columns in TABLES.items():
        run(session, f"CREATE TABLE k.{name} ({columns})" + (" WITH gc_grace_seconds = 864000" if name == "plain" else ""))
    run(session, "INSERT INTO k.rich (k, d) VALUES (3, 99)")
    run(session, "ALTER TABLE k.rich DROP d")
    run(session, "ALTER TABLE k.rich ADD (d int, a int)")


def fill(session):
    for key in range(200):
        run(session, f"INSERT INTO k.plain (k, v, n) VALUES ({key}, 'v{key}', {key}) USING TIMESTAMP {1_000_000 + key}")
    for key in range(0, 200, 10):
        run(session, f"DELETE FROM k.plain WHERE k = {key}")
        run(session, f"DELETE n FROM k.plain WHERE k = {key + 1}")
    run(session, "INSERT INTO k.plain (k, v, n) VALUES (1000, 'short', 1) USING TTL 5")
    run(session, "INSERT INTO k.plain (k, v, n) VALUES (1001, 'long', 1) USING TTL 50000")
    for partition, row in itertools.product(range(6), range(30)):
        run(session, f"INSERT INTO k.wide (p, c, s, v) VALUES ({partition}, {row}, 's{partition}', 'v{row}')")
    run(session, "DELETE FROM k.wide WHERE p = 1 AND c >= 5 AND c < 25")
    run(session, "DELETE FROM k.wide WHERE p = 2")
    run(session, "DELETE s FROM k.wide WHERE p = 3")
    run(session, "INSERT INTO k.rich (k, l, m, s, u, d, a) VALUES (1, ['a', 'b'], {'x': 1, 'y': 2}, {3, 4}, "
                 "{name: 'n', inside: {a: 7, b: 'deep'}}, 8, 5)")
    run(session, "UPDATE k.rich SET m['y'] = null, l = l + ['c'], s = s - {3} WHERE k = 1")
    run(session, "INSERT INTO k.rich (k, l) VALUES (2, ['old'])")
    run(session, "UPDATE k.rich SET l = ['new'] WHERE k = 2")
    for _ in range(5):
        run(session, "UPDATE k.counted SET n = n + 3 WHERE k = 1")
    assert run(session, "INSERT INTO k.plain (k, v, n) VALUES (2000, 'lwt', 0) IF NOT EXISTS").one().applied
    for number in range(3):
        assert run(session, f"UPDATE k.plain SET n = {number + 1} WHERE k = 2000 IF n = {number}").one().applied
    assert not run(session, "UPDATE k.plain SET n = 9 WHERE k = 2000 IF n = 0").one().applied


def dump(session, level=QUORUM):
    """Everything of the tables that `fill` writes, with write times; of the rows of batches and of the short-lived one nothing."""
    queries = {
        "plain": "SELECT k, v, n, writetime(v), writetime(n) FROM k.plain",
        "wide": "SELECT p, c, s, v, writetime(s), writetime(v) FROM k.wide",
        "rich": "SELECT k, l, m, s, u, d, a, writetime(d) FROM k.rich",
        "counted": "SELECT k, n FROM k.counted",
    }
    kept = {name: [tuple(row) for row in run(session, query, level)] for name, query in queries.items()}
    kept["plain"] = [row for row in kept["plain"] if row[0] >= 0 and row[0] != 1000]
    left = run(session, "SELECT ttl(v) FROM k.plain WHERE k = 1001", level).one()[0]
    assert 49_000 < left <= 50_000, left
    return {name: sorted(map(repr, rows)) for name, rows in kept.items()}


def schema_of(session):
    return [row.create_statement for row in session.execute("DESCRIBE KEYSPACE k")]


def directory_of(node, name=NAME):
    return pathlib.Path(node.data_dir) / "backups" / name


def carry(source, target, name=NAME):
    """Copies a backup from one node's data directory to another's."""
    shutil.copytree(directory_of(source, name), directory_of(target, name))


class Load(threading.Thread):
    """Writes to one table and then, when that is acknowledged, to another; and batches. Knows what was acknowledged."""

    def __init__(self, session, offset, step):
        super().__init__()
        self.session, self.offset, self.step, self.stop = session, offset, step, threading.Event()
        self.acknowledged, self.batches, self.slowest, self.failures = [], [], 0.0, []

    def run(self):
        for key in itertools.count(self.offset, self.step):
            if self.stop.is_set():
                return
            try:
                began = time.monotonic()
                run(self.session, f"INSERT INTO k.left (k, v) VALUES ({key}, {key})")
                run(self.session, f"INSERT INTO k.right (k, v) VALUES ({key}, {key})")
                self.acknowledged.append(key)
                batch = BatchStatement(BatchType.LOGGED, consistency_level=QUORUM)
                for part in range(3):
                    batch.add(SimpleStatement(f"INSERT INTO k.plain (k, v) VALUES ({-1 - key * 3 - part}, 'batch')"))
                self.session.execute(batch)
                self.batches.append(key)
                self.slowest = max(self.slowest, time.monotonic() - began)
            except Exception as error:  # noqa: BLE001: each failure counts, whatever its kind
                self.failures.append(repr(error))


def check_load(session, before, before_batches, level):
    left = {row.k for row in run(session, "SELECT k FROM k.left", level)}
    right = {row.k for row in run(session, "SELECT k FROM k.right", level)}
    assert before <= right, sorted(before - right)[:5]
    assert right <= left, ("an effect without its cause", sorted(right - left)[:5])
    parts = {-1 - row.k for row in run(session, "SELECT k FROM k.plain", level) if row.k < 0}
    batches = {part // 3 for part in parts}
    assert parts == {key * 3 + part for key in batches for part in range(3)}, "half a batch"
    assert before_batches <= batches


def test_what_was_acknowledged_comes_back_in_clusters_of_other_sizes(cluster):
    three = cluster().form()
    first = three.session(three.nodes[0])
    make_schema(first, 3)
    fill(first)
    expected, schema = dump(first), schema_of(first)
    loads = [Load(three.session(node), offset, 3) for offset, node in enumerate(three.nodes)]
    [load.start() for load in loads]
    time.sleep(3)
    before = {key for load in loads for key in list(load.acknowledged)}
    before_batches = {key for load in loads for key in list(load.batches)}
    text = ok(three.nodes[1], "backup", "create", NAME)
    time.sleep(0.5)
    for load in loads:
        load.stop.set()
        load.join()
        assert not load.failures, load.failures[:3]
        assert load.slowest < 5, load.slowest
    assert before and before_batches
    assert " rows, " in text and "no part" not in text, text
    assert NAME in ok(three.nodes[1], "backup", "list") and "everything of 3 nodes" in ok(three.nodes[1], "backup", "show", NAME)
    assert "is good" in ok(three.nodes[1], "backup", "verify", NAME)
    assert "no backups" in ok(three.nodes[0], "backup", "list")
    assert (directory_of(three.nodes[1]) / "schema.cql").read_text().startswith("CREATE KEYSPACE k ")

    for size, level in ((1, ONE), (4, QUORUM)):
        other = cluster().form(size)
        target = other.nodes[-1]
        carry(three.nodes[1], target)
        text = ok(target, "restore", NAME)
        assert f"backup {NAME} is restored" in text, text
        assert ("asks for 3 copies" in text) == (size == 1), text
        session = other.session(other.nodes[0])
        assert schema_of(session) == schema
        found = dump(session, level)
        for name, rows in expected.items():
            assert found[name] == rows, name
        assert run(session, "SELECT v FROM k.plain WHERE k = 1000", level).one() is None, "its time was over"
        check_load(session, before, before_batches, level)
        # All replicas have all of it, and it goes on as ever: conditions, counters, deletions, a second restore.
        if size == 4:
            assert run(session, "UPDATE k.plain SET n = 4 WHERE k = 2000 IF n = 3", QUORUM).one().applied
            run(session, "UPDATE k.counted SET n = n + 1 WHERE k = 1")
            run(session, "DELETE FROM k.plain WHERE k = 5")
            text = ok(target, "restore", NAME)
            assert "table k.plain was here" in text, text
            assert run(session, "SELECT n FROM k.plain WHERE k = 2000").one().n == 4
            assert run(session, "SELECT n FROM k.counted WHERE k = 1").one().n == 16
            assert run(session, "SELECT n FROM k.plain WHERE k = 5").one() is None
        other.close()
        [node.kill() for node in other.nodes]
