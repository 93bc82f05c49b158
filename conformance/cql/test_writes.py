"""Writing: timestamps, expiry, batches, conditions, deletions and prepared statements that outlive their table."""

import datetime
import time
import uuid

import pytest
from cassandra import ConsistencyLevel, InvalidRequest
from cassandra.protocol import SyntaxException
from cassandra.query import BatchStatement, BatchType, SimpleStatement


def test_using_timestamp_orders_writes(table, session, rows):
    name = table("k int PRIMARY KEY, v text")
    session.execute(f"INSERT INTO {name} (k, v) VALUES (1, 'new') USING TIMESTAMP 2000")
    session.execute(f"INSERT INTO {name} (k, v) VALUES (1, 'old') USING TIMESTAMP 1000")
    assert rows(f"SELECT v, writetime(v) FROM {name}") == [("new", 2000)]
    insert = session.prepare(f"UPDATE {name} USING TIMESTAMP ? SET v = ? WHERE k = 1")
    session.execute(insert, (3000, "newest"))
    assert rows(f"SELECT v, writetime(v) FROM {name}") == [("newest", 3000)]


def test_default_timestamp_is_now_in_microseconds(table, session, rows):
    name = table("k int PRIMARY KEY, v text")
    session.execute(f"INSERT INTO {name} (k, v) VALUES (1, 'x')")
    [(written,)] = rows(f"SELECT writetime(v) FROM {name}")
    assert abs(written / 1e6 - time.time()) < 60


def test_client_timestamp_is_used(table, session, rows):
    name = table("k int PRIMARY KEY, v text")
    before = int(time.time() * 1e6)
    session.execute(f"INSERT INTO {name} (k, v) VALUES (1, 'x')")
    [(written,)] = rows(f"SELECT writetime(v) FROM {name}")
    assert before <= written <= int(time.time() * 1e6)


def test_ttl_counts_down_and_expires(table, session, rows):
    name = table("k int PRIMARY KEY, v text, w text")
    session.execute(f"INSERT INTO {name} (k, v) VALUES (1, 'x') USING TTL 2")
    session.execute(f"UPDATE {name} USING TTL 10000 SET w = 'y' WHERE k = 1")
    [(v_left, w_left)] = rows(f"SELECT ttl(v), ttl(w) FROM {name}")
    assert v_left in (1, 2) and 9990 <= w_left <= 10000
    deadline = time.monotonic() + 10
    while rows(f"SELECT v FROM {name}") != [(None,)]:
        assert time.monotonic() < deadline, "it has not expired after 10 s"
        time.sleep(0.2)
    assert rows(f"SELECT k, v, w FROM {name}") == [(1, None, "y")]


def test_row_marker_expires_with_its_insert(table, session, rows):
    name = table("k int PRIMARY KEY, v text")
    session.execute(f"INSERT INTO {name} (k, v) VALUES (1, 'x') USING TTL 1")
    deadline = time.monotonic() + 10
    while rows(f"SELECT k FROM {name}"):
        assert time.monotonic() < deadline, "it has not expired after 10 s"
        time.sleep(0.2)


def test_default_ttl_of_the_table(table, session, rows):
    name = table("k int PRIMARY KEY, v text", "WITH default_time_to_live = 1000")
    session.execute(f"INSERT INTO {name} (k, v) VALUES (1, 'x')")
    session.execute(f"INSERT INTO {name} (k, v) VALUES (2, 'x') USING TTL 0")
    left = dict(rows(f"SELECT k, ttl(v) FROM {name}"))
    assert 990 <= left[1] <= 1000 and left[2] is None


@pytest.mark.parametrize("ttl", ["-1", "9999999999"])
def test_wrong_ttl_is_refused(table, session, ttl):
    name = table("k int PRIMARY KEY, v int")
    with pytest.raises(Exception, match="(?i)ttl|2000|2200|invalid|unable"):
        session.execute(f"INSERT INTO {name} (k, v) VALUES (1, 1) USING TTL {ttl}")


def test_writetime_and_ttl_refuse_keys(table, session):
    name = table("k int PRIMARY KEY, v int")
    for function in ("writetime", "ttl"):
        with pytest.raises(InvalidRequest):
            session.execute(f"SELECT {function}(k) FROM {name}")


DELETIONS = [
    ("DELETE FROM {} WHERE p = 1", []),
    ("DELETE FROM {} WHERE p = 1 AND a = 1", [(0, 0), (0, 1), (2, 0), (2, 1)]),
    ("DELETE FROM {} WHERE p = 1 AND a = 1 AND b = 0", [(0, 0), (0, 1), (1, 1), (2, 0), (2, 1)]),
    ("DELETE FROM {} WHERE p = 1 AND a > 0", [(0, 0), (0, 1)]),
    ("DELETE FROM {} WHERE p = 1 AND a >= 1 AND a < 2", [(0, 0), (0, 1), (2, 0), (2, 1)]),
    ("DELETE FROM {} WHERE p = 1 AND a = 2 AND b <= 0", [(0, 0), (0, 1), (1, 0), (1, 1), (2, 1)]),
    ("DELETE FROM {} WHERE p = 1 AND a IN (0, 2)", [(1, 0), (1, 1)]),
    ("DELETE FROM {} WHERE p = 1 AND (a, b) > (0, 1)", [(0, 0), (0, 1)]),
    ("DELETE FROM {} WHERE p IN (1, 3)", []),
]


@pytest.mark.parametrize(("statement", "left"), DELETIONS)
def test_deletion(table, session, rows, statement, left):
    name = table("p int, a int, b int, v int, PRIMARY KEY (p, a, b)")
    for p, a, b in ((p, a, b) for p in (1, 2) for a in range(3) for b in range(2)):
        session.execute(f"INSERT INTO {name} (p, a, b, v) VALUES ({p}, {a}, {b}, 0)")
    session.execute(statement.format(name))
    assert rows(f"SELECT a, b FROM {name} WHERE p = 1") == left
    assert len(rows(f"SELECT a, b FROM {name} WHERE p = 2")) == 6
    session.execute(f"INSERT INTO {name} (p, a, b, v) VALUES (1, 1, 0, 9)")
    assert (1, 0, 9) in rows(f"SELECT a, b, v FROM {name} WHERE p = 1")


@pytest.mark.parametrize("statement", [
    "UPDATE {} SET v = 1 WHERE p = 1", "UPDATE {} SET p = 2 WHERE p = 1 AND c = 1", "UPDATE {} SET nothing = 1 WHERE p = 1 AND c = 1",
    "INSERT INTO {} (p, v) VALUES (1, 1)", "INSERT INTO {} (p, c) VALUES (1)", "INSERT INTO {} (p, c, p) VALUES (1, 1, 1)",
    "DELETE v FROM {} WHERE p = 1", "DELETE FROM {} WHERE c = 1", "DELETE c FROM {} WHERE p = 1 AND c = 1",
    "UPDATE {} SET v = 1 WHERE p = 1 AND c > 1", "DELETE FROM {} WHERE p = 1 AND v = 1",
    "UPDATE {} SET v = v + 1 WHERE p = 1 AND c = 1", "UPDATE {} SET v = 1, v = 2 WHERE p = 1 AND c = 1"])
def test_wrong_write_is_refused(table, session, statement):
    name = table("p int, c int, v int, PRIMARY KEY (p, c)")
    with pytest.raises((InvalidRequest, SyntaxException)):
        session.execute(statement.format(name))


@pytest.mark.parametrize("kind", [BatchType.LOGGED, BatchType.UNLOGGED])
def test_batch_message(table, session, rows, kind):
    name = table("p int, c int, v text, PRIMARY KEY (p, c)")
    insert = session.prepare(f"INSERT INTO {name} (p, c, v) VALUES (?, ?, ?)")
    batch = BatchStatement(batch_type=kind, consistency_level=ConsistencyLevel.QUORUM)
    for number in range(50):
        batch.add(insert, (number % 3, number, f"v{number}"))
    batch.add(SimpleStatement(f"DELETE FROM {name} WHERE p = 0 AND c = 999"))
    batch.add(f"INSERT INTO {name} (p, c, v) VALUES (%s, %s, %s)", (7, 7, "seven"))
    session.execute(batch)
    assert len(rows(f"SELECT * FROM {name}")) == 51
    assert len({written for (written,) in rows(f"SELECT writetime(v) FROM {name}")}) == 1


def test_batch_text_with_timestamps(table, session, rows):
    name = table("k int PRIMARY KEY, v text")
    session.execute(f"BEGIN UNLOGGED BATCH USING TIMESTAMP 77 INSERT INTO {name} (k, v) VALUES (1, 'a'); "
                    f"UPDATE {name} SET v = 'b' WHERE k = 2; DELETE FROM {name} WHERE k = 3; APPLY BATCH")
    assert sorted(rows(f"SELECT k, v, writetime(v) FROM {name}")) == [(1, "a", 77), (2, "b", 77)]


def test_batch_deletes_and_inserts_the_same_row(table, session, rows):
    name = table("k int PRIMARY KEY, v text")
    session.execute(f"INSERT INTO {name} (k, v) VALUES (1, 'old')")
    session.execute(f"BEGIN BATCH DELETE FROM {name} WHERE k = 1; INSERT INTO {name} (k, v) VALUES (1, 'new'); APPLY BATCH")
    assert rows(f"SELECT * FROM {name}") == [], "one timestamp: the deletion covers the insert"


def test_counter_in_a_plain_batch_is_refused(table, session):
    plain = table("k int PRIMARY KEY, v int", suffix="_plain")
    counter = table("k int PRIMARY KEY, n counter", suffix="_counter")
    with pytest.raises(InvalidRequest):
        session.execute(f"BEGIN BATCH INSERT INTO {plain} (k, v) VALUES (1, 1); "
                        f"UPDATE {counter} SET n = n + 1 WHERE k = 1; APPLY BATCH")


def test_conditional_insert(table, session, rows):
    name = table("k int PRIMARY KEY, v text, w int")
    insert = f"INSERT INTO {name} (k, v) VALUES (1, %s) IF NOT EXISTS"
    assert rows(insert, ("a",)) == [(True,)]
    result = session.execute(insert, ("b",))
    assert result.was_applied is False
    assert result.column_names[0] == "[applied]"
    assert rows(insert, ("b",)) == [(False, 1, "a", None)]
    assert rows(f"SELECT v FROM {name}") == [("a",)]


def test_conditional_update_and_delete(table, session, rows):
    name = table("k int PRIMARY KEY, v text, w int")
    assert rows(f"UPDATE {name} SET v = 'x' WHERE k = 1 IF EXISTS") == [(False,)]
    session.execute(f"INSERT INTO {name} (k, v, w) VALUES (1, 'a', 5)")
    assert rows(f"UPDATE {name} SET v = 'b' WHERE k = 1 IF v = 'zzz'") == [(False, "a")]
    assert rows(f"UPDATE {name} SET v = 'b' WHERE k = 1 IF v = 'a' AND w > 4") == [(True,)]
    assert rows(f"UPDATE {name} SET v = 'c' WHERE k = 1 IF w IN (1, 2)") == [(False, 5)]
    assert rows(f"UPDATE {name} SET v = 'c' WHERE k = 1 IF w != 5") == [(False, 5)]
    assert rows(f"UPDATE {name} SET w = null WHERE k = 1 IF w = 5") == [(True,)]
    assert rows(f"UPDATE {name} SET w = 1 WHERE k = 1 IF w = null") == [(True,)]
    assert rows(f"DELETE FROM {name} WHERE k = 1 IF EXISTS") == [(True,)]
    assert rows(f"DELETE FROM {name} WHERE k = 1 IF EXISTS") == [(False,)]
    assert rows(f"SELECT * FROM {name}") == []


def test_prepared_conditional_write(table, session):
    name = table("k uuid PRIMARY KEY, v int")
    key = uuid.uuid4()
    insert = session.prepare(f"INSERT INTO {name} (k, v) VALUES (?, ?) IF NOT EXISTS")
    assert session.execute(insert, (key, 1)).was_applied
    update = session.prepare(f"UPDATE {name} SET v = ? WHERE k = ? IF v = ?")
    assert session.execute(update, (2, key, 1)).was_applied
    refused = session.execute(update, (3, key, 1))
    assert not refused.was_applied and refused.one().v == 2


def test_conditional_write_is_seen_by_plain_reads_and_beats_older_writes(table, session, rows):
    name = table("k int PRIMARY KEY, v int")
    for number in range(20):
        session.execute(f"UPDATE {name} SET v = {number} WHERE k = 1")
        assert rows(f"UPDATE {name} SET v = {number + 1000} WHERE k = 1 IF v = {number}") == [(True,)]
        assert rows(f"SELECT v FROM {name}") == [(number + 1000,)]


def test_prepared_statement_lives_through_alter_and_drop(table, session, connect, keyspace):
    name = table("k int PRIMARY KEY, v int")
    other = connect().connect(keyspace)
    select = other.prepare(f"SELECT * FROM {name}")
    session.execute(f"INSERT INTO {name} (k, v) VALUES (1, 2)")
    assert other.execute(select).one()._asdict() == {"k": 1, "v": 2}
    session.execute(f"ALTER TABLE {name} ADD w text")
    session.execute(f"UPDATE {name} SET w = 'new' WHERE k = 1")
    assert other.execute(select).one()._asdict() == {"k": 1, "v": 2, "w": "new"}
    session.execute(f"ALTER TABLE {name} DROP v")
    assert other.execute(select).one()._asdict() == {"k": 1, "w": "new"}
    session.execute(f"DROP TABLE {name}")
    session.execute(f"CREATE TABLE {name} (k int PRIMARY KEY, z int)")
    session.execute(f"INSERT INTO {name} (k, z) VALUES (5, 6)")
    assert other.execute(select).one()._asdict() == {"k": 5, "z": 6}


def test_prepared_metadata(table, session):
    name = table("a int, b text, c int, v list<int>, PRIMARY KEY ((a, b), c)")
    insert = session.prepare(f"INSERT INTO {name} (v, c, b, a) VALUES (?, ?, ?, ?)")
    assert [column.name for column in insert.column_metadata] == ["v", "c", "b", "a"]
    assert insert.routing_key_indexes == [3, 2]
    named = session.prepare(f"SELECT * FROM {name} WHERE a = :first AND b = :second LIMIT :most")
    assert [column.name for column in named.column_metadata] == ["first", "second", "most"]
    session.execute(insert, ([1], 1, "x", 7))
    assert len(list(session.execute(named, {"first": 7, "second": "x", "most": 1}))) == 1


def test_prepared_ids_do_not_depend_on_the_connection(table, session, connect, keyspace):
    name = table("k int PRIMARY KEY")
    text = f"SELECT k FROM {keyspace}.{name}"
    assert session.prepare(text).query_id == connect().connect(keyspace).prepare(text).query_id


def test_named_values_in_a_query(table, session, rows):
    name = table("k int PRIMARY KEY, v text")
    session.execute(f"INSERT INTO {name} (k, v) VALUES (%(key)s, %(value)s)", {"key": 1, "value": "it's"})
    assert rows(f"SELECT v FROM {name} WHERE k = %(key)s", {"key": 1}) == [("it's",)]


def test_insert_json(table, session, rows):
    name = table("k int PRIMARY KEY, v text, l list<int>")
    session.execute(f"""INSERT INTO {name} JSON '{{"k": 1, "v": "a", "l": [1, 2]}}'""")
    assert rows(f"SELECT k, v, l FROM {name}") == [(1, "a", [1, 2])]


def test_truncate(table, session, rows):
    name = table("k int PRIMARY KEY")
    for key in range(50):
        session.execute(f"INSERT INTO {name} (k) VALUES ({key})")
    session.execute(f"TRUNCATE {name}")
    assert rows(f"SELECT * FROM {name}") == []
    session.execute(f"INSERT INTO {name} (k) VALUES (1)")
    session.execute(f"TRUNCATE TABLE {name}")
    assert rows(f"SELECT * FROM {name}") == []


def test_comments_and_case(table, session, rows):
    name = table("k int PRIMARY KEY, v timestamp")
    session.execute(f"insert INTO {name} (K, v) -- a comment\n values (1, '2020-01-01 00:00:00+0000') /* another */ ;")
    assert rows(f"sElEcT V from {name} // the end\n") == [(datetime.datetime(2020, 1, 1),)]


def warned(session, statement, parameters=None):
    """The warnings that came with the answer."""
    future = session.execute_async(statement, parameters)
    future.result()
    return future.warnings or []


def test_a_large_batch_is_warned_of_and_a_larger_one_refused(table, session, keyspace):
    name = table("p int PRIMARY KEY, v text")
    insert = session.prepare(f"INSERT INTO {name} (p, v) VALUES (?, ?)")

    def batch(kind, length):
        made = BatchStatement(batch_type=kind)
        made.add(insert, (1, "x" * length))
        made.add(insert, (2, "x" * length))
        return made

    for kind in (BatchType.LOGGED, BatchType.UNLOGGED):
        assert warned(session, batch(kind, 2000)) == []
        [text] = warned(session, batch(kind, 3000))
        start, end = f"Batch for [{keyspace}.{name}] is of size ", ", exceeding specified threshold of 5120 by "
        assert text.startswith(start) and end in text and text.endswith(".")
        size, _, over = text[len(start):-1].partition(end)
        assert int(size) - 5120 == int(over) and 6000 < int(size) < 6300
        with pytest.raises(InvalidRequest, match="Batch too large"):
            session.execute(batch(kind, 30_000))
    one_partition = BatchStatement()
    one_partition.add(insert, (1, "x" * 30_000))
    one_partition.add(insert, (1, "y" * 30_000))
    assert warned(session, one_partition) == []
    text = "x" * 3000
    assert len(warned(session, f"BEGIN BATCH INSERT INTO {name} (p, v) VALUES (1, '{text}') "
                      f"INSERT INTO {name} (p, v) VALUES (2, '{text}') APPLY BATCH")) == 1


def test_an_unlogged_batch_over_many_partitions_is_warned_of(table, session, keyspace):
    name = table("p int PRIMARY KEY, v int")
    insert = session.prepare(f"INSERT INTO {name} (p, v) VALUES (?, 1)")

    def batch(kind, partitions):
        made = BatchStatement(batch_type=kind)
        for number in range(partitions):
            made.add(insert, (number,))
        return made

    assert warned(session, batch(BatchType.UNLOGGED, 10)) == []
    assert warned(session, batch(BatchType.LOGGED, 11)) == []
    assert warned(session, batch(BatchType.UNLOGGED, 11)) == [
        f"Unlogged batch covering 11 partitions detected against table [{keyspace}.{name}]. "
        "You should use a logged batch for atomicity, or asynchronous writes for performance."]


def test_an_aggregate_over_partitions_is_warned_of(table, session):
    name = table("p int, c int, PRIMARY KEY (p, c)")
    without = ["Aggregation query used without partition key"]
    several = ["Aggregation query used on multiple partition keys (IN restriction)"]
    for statement, expected in [
            (f"SELECT count(*) FROM {name}", without),
            (f"SELECT p, max(c) FROM {name} GROUP BY p", without),
            (f"SELECT p, c FROM {name} GROUP BY p", without),
            (f"SELECT count(*) FROM {name} WHERE p IN (1, 2)", several),
            (f"SELECT count(*) FROM {name} WHERE p = 1", []),
            (f"SELECT count(*) FROM {name} WHERE token(p) > 0", []),
            (f"SELECT * FROM {name}", [])]:
        assert warned(session, statement) == expected, statement
