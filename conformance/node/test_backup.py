"""`holon backup` and `holon restore` with real processes: taken under load, brought back into clusters of other sizes, with what
can go wrong on the way.
"""

import itertools
import pathlib
import shutil
import signal
import subprocess
import threading
import time

from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import Cluster
from cassandra.query import BatchStatement, BatchType, SimpleStatement
from clusters import ALL, ONE, QUORUM, SMALL, command, eventually, run, up

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
    print(f"while it was taken, three writes one after the other took {max(load.slowest for load in loads):.2f} s at most")
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


def simple(session, keyspace="k", factor=1, rows=50, alone=False):
    run(session, f"CREATE KEYSPACE {keyspace} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': {factor}}}")
    run(session, f"CREATE TABLE {keyspace}.t (k int PRIMARY KEY, v text)")
    for key in range(rows):
        run(session, f"INSERT INTO {keyspace}.t (k, v) VALUES ({key}, 'v{key}')", ONE if factor > 1 and alone else QUORUM)


def count(session, table="k.t", level=QUORUM):
    return run(session, f"SELECT count(*) FROM {table}", level).one().count


def test_a_node_that_is_away_is_done_without_where_a_majority_is_left(cluster):
    three = cluster().form()
    session = three.session(three.nodes[0])
    simple(session, "k", 3)
    simple(session, "single", 1)
    three.nodes[2].kill()
    # Also before it is known that it is away.
    text = refused(three.nodes[0], "backup", "create", NAME)
    assert "single.t: 0 of 1 replicas" in text and "nothing was done" in text and "away: node " in text, text
    assert "no backups" in ok(three.nodes[0], "backup", "list")
    text = ok(three.nodes[0], "backup", "create", NAME, "k")
    assert "had no part in it" in text, text
    assert "k of 3 nodes, 50 rows" in ok(three.nodes[0], "backup", "show", NAME)
    alone = cluster().form(1)
    carry(three.nodes[0], alone.nodes[0])
    ok(alone.nodes[0], "restore", NAME)
    assert count(alone.session(alone.nodes[0]), level=ONE) == 50
    assert "single" not in {row.keyspace_name for row in
                            alone.session(alone.nodes[0]).execute("SELECT keyspace_name FROM system_schema.keyspaces")}
    three.nodes[1].kill()
    eventually("both are known to be away", lambda: "1 of 3" in refused(three.nodes[0], "backup", "create", "tuesday"))


def test_a_restore_that_was_cut_off_is_given_again(cluster):
    one = cluster().form(1)
    session = one.session(one.nodes[0])
    simple(session, factor=3, rows=300, alone=True)
    ok(one.nodes[0], "backup", "create", NAME)
    three = cluster().form()
    carry(one.nodes[0], three.nodes[0])
    # A replica that does not answer holds the restore up in the middle; then the node that restores is killed.
    three.nodes[2].process.send_signal(signal.SIGSTOP)
    said = []
    thread = threading.Thread(target=lambda: said.append(command(three.nodes[0], "restore", NAME)))
    thread.start()
    second = three.session(three.nodes[1])

    def has_begun():
        try:
            return count(second, level=ONE) > 0
        except Exception:  # noqa: BLE001: the table is not there yet
            return False

    eventually("some rows are there", has_begun)
    three.nodes[0].kill()
    thread.join()
    assert said[0][0] != 0 and "went away" in said[0][1], said
    three.nodes[2].process.send_signal(signal.SIGCONT)
    three.nodes[0].start()
    for node in three.nodes:
        eventually("all are back", lambda node=node: up(node) == 3)
    text = ok(three.nodes[0], "restore", NAME)
    assert "300 rows" in text, text
    for node in three.nodes:
        assert count(three.reconnect(node), level=ONE) == 300
    # A replica that stays away ends it, and says so.
    run(second, "TRUNCATE k.t")
    three.nodes[2].kill()
    text = refused(three.nodes[0], "restore", NAME)
    assert "is a node away?" in text and "give the command again" in text, text
    three.nodes[2].start()
    eventually("it is back", lambda: up(three.nodes[0]) == 3)
    ok(three.nodes[0], "restore", NAME, "k", "t")
    assert count(second, level=ALL) == 300


def test_what_is_wrong_is_said_and_nothing_is_half_done(cluster):
    one = cluster().form(1)
    node, session = one.nodes[0], one.session(one.nodes[0])
    simple(session)
    run(session, "CREATE TABLE k.u (k int PRIMARY KEY, v text)")
    run(session, "INSERT INTO k.u (k, v) VALUES (1, 'x')")
    for words, why in (
        (["backup", "create", "../etc"], "cannot name a backup"),
        (["backup", "create", ".hidden"], "cannot name a backup"),
        (["backup", "create", "x" * 65], "cannot name a backup"),
        (["backup", "create", NAME, "nowhere"], "keyspace nowhere does not exist"),
        (["backup", "create", NAME, "k", "nothing"], "table k.nothing does not exist"),
        (["backup", "create"], "backup create NAME"),
        (["backup", "explode", NAME], "backup create NAME"),
        (["backup", "show", NAME], "there is no backup"),
        (["backup", "verify", NAME], "there is no backup"),
        (["backup", "drop", NAME], "there is no backup"),
        (["restore", NAME], "there is no backup"),
    ):
        assert why in refused(node, *words), words
    ok(node, "backup", "create", NAME)
    assert "already" in refused(node, "backup", "create", NAME)
    ok(node, "backup", "create", "part", "k", "u")
    assert "in backup part, table k.t does not exist" in refused(node, "restore", "part", "k", "t")

    other = cluster().form(1)
    target, there = other.nodes[0], other.session(other.nodes[0])

    def keyspaces():
        return {row.keyspace_name for row in there.execute("SELECT keyspace_name FROM system_schema.keyspaces")}

    def damaged(how, why):
        carry(node, target)
        files = sorted(directory_of(target).glob("data/k.t-*/*.rows"))
        how(files)
        for words in (["backup", "verify", NAME], ["restore", NAME]):
            text = refused(target, *words)
            assert why in text, (why, text)
        assert "k" not in keyspaces()
        shutil.rmtree(directory_of(target))

    def flip(path, at):
        content = bytearray(path.read_bytes())
        content[at] ^= 1
        path.write_bytes(content)

    damaged(lambda files: flip(files[0], -1), "rows is damaged at byte")
    damaged(lambda files: flip(files[0], 3), "is damaged at byte 0")
    damaged(lambda files: files[0].write_bytes(files[0].read_bytes()[:-5]), "bytes and should have")
    damaged(lambda files: files[0].unlink(), f"{NAME}/data/k.t-")
    damaged(lambda files: files[0].write_bytes(files[1].read_bytes()[:files[0].stat().st_size].ljust(files[0].stat().st_size)),
            "rows is damaged at byte")
    damaged(lambda _: flip(directory_of(target) / "BACKUP", 40), "the checksum of the manifest is wrong")
    damaged(lambda _: (directory_of(target) / "BACKUP").unlink(), "was not finished, or not copied whole")

    # What does not fit changes nothing; what was cut off is made anew; what is dropped is gone.
    run(there, "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
    run(there, "CREATE TABLE k.u (k int PRIMARY KEY, v int)")
    carry(node, target)
    text = refused(target, "restore", NAME)
    assert "table k.u is here and does not fit: its column v" in text and "nothing was changed" in text, text
    assert "t" not in {row.table_name for row in there.execute(
        "SELECT table_name FROM system_schema.tables WHERE keyspace_name = 'k'")}
    ok(target, "restore", NAME, "k", "t")
    assert count(there) == 50
    (directory_of(target) / "BACKUP").unlink()
    assert f"{NAME}: not finished" in ok(target, "backup", "list")
    ok(target, "backup", "create", NAME)
    assert "50 rows" in ok(target, "backup", "show", NAME)
    ok(target, "backup", "drop", NAME)
    assert not directory_of(target).exists() and "no backups" in ok(target, "backup", "list")


def test_a_keyspace_of_another_data_centre_waits_to_be_made(cluster):
    one = cluster().form(1)
    node, session = one.nodes[0], one.session(one.nodes[0])
    run(session, "CREATE KEYSPACE k WITH replication = {'class': 'NetworkTopologyStrategy', 'datacenter1': 1}")
    run(session, "CREATE TABLE k.t (k int PRIMARY KEY, v text)")
    run(session, "INSERT INTO k.t (k, v) VALUES (1, 'x')")
    ok(node, "backup", "create", NAME)
    other = cluster()
    target = other.add("--data-center", "elsewhere")
    carry(node, target)
    there = other.session(target)
    text = refused(target, "restore", NAME)
    assert "data centre datacenter1, which this cluster does not have" in text and "nothing was changed" in text, text
    run(there, "CREATE KEYSPACE k WITH replication = {'class': 'NetworkTopologyStrategy', 'elsewhere': 1}")
    text = ok(target, "restore", NAME)
    assert "keeps the replication that it has here" in text, text
    assert count(there) == 1


def test_accounts_come_back_and_a_table_that_lost_rows_gets_them(make_node):
    node, target = make_node(arguments=list(SMALL)).start(), make_node(arguments=list(SMALL)).start()
    with Cluster([node.address], protocol_version=5) as driver:
        session = driver.connect()
        simple(session, rows=20)
        ok_with_password(node, "create", "ada")
    ok(node, "backup", "create", NAME)
    carry(node, target)
    text = ok(target, "restore", NAME)
    assert "1 accounts are back" in text, text
    assert ok(target, "user", "list").strip() == "ada"
    auth = PlainTextAuthProvider("ada", "secret")
    with Cluster([target.address], protocol_version=5, auth_provider=auth) as driver:
        session = driver.connect()
        assert count(session) == 20
        # Deleted after the backup: the deletion is later, and stays. Truncated: all comes back.
        run(session, "DELETE FROM k.t WHERE k = 7")
        assert "was here" in ok(target, "restore", NAME)
        assert count(session) == 19
        run(session, "TRUNCATE k.t")
        ok(target, "restore", NAME)
        assert count(session) == 20
        run(session, "DROP TABLE k.t")
        ok(target, "restore", NAME, "k", "t")
        assert count(session) == 20


def ok_with_password(node, verb, name):
    done = subprocess.run([node.program, "user", "--data-dir", str(node.data_dir), verb, name], input="secret\n", text=True,
                          capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_two_at_once_do_not_mix(cluster):
    three = cluster().form()
    simple(three.session(three.nodes[0]), factor=3)
    outcomes = []
    threads = [threading.Thread(target=lambda node=node: outcomes.append((node, *command(node, "backup", "create", NAME))))
               for node in three.nodes]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    good = [node for node, code, _ in outcomes if code == 0]
    assert all(code == 0 or "another backup is under way" in text for _, code, text in outcomes), outcomes
    for node in good:
        assert "50 rows" in ok(node, "backup", "show", NAME)
    ok(three.nodes[0], "backup", "create", "afterwards")
