"""The rules of CQL that are most often got wrong, one test each. Cassandra 5.0 is the reference."""

import itertools

import pytest
from cassandra import InvalidRequest
from cassandra.query import UNSET_VALUE


def both_orders(table, session, rows, one, other, query):
    """The result after both writes, which must not depend on their order."""
    results = []
    for suffix, pair in (("_ab", (one, other)), ("_ba", (other, one))):
        name = table("k int PRIMARY KEY, v text", suffix=suffix)
        for statement in pair:
            session.execute(statement.format(name))
        results.append(rows(query.format(name)))
    assert results[0] == results[1], "the order of the writes decided"
    return results[0]


def test_equal_timestamps_tombstone_beats_live(table, session, rows):
    got = both_orders(
        table, session, rows, "INSERT INTO {} (k, v) VALUES (1, 'z') USING TIMESTAMP 10",
        "DELETE v FROM {} USING TIMESTAMP 10 WHERE k = 1", "SELECT k, v FROM {}")
    assert got == [(1, None)]


def test_equal_timestamps_expiring_beats_live(table, session, rows):
    got = both_orders(
        table, session, rows, "UPDATE {} USING TIMESTAMP 10 SET v = 'z' WHERE k = 1",
        "UPDATE {} USING TIMESTAMP 10 AND TTL 10000 SET v = 'a' WHERE k = 1", "SELECT v FROM {}")
    assert got == [("a",)]


def test_equal_timestamps_tombstone_beats_expiring(table, session, rows):
    got = both_orders(
        table, session, rows, "INSERT INTO {} (k, v) VALUES (1, 'z') USING TIMESTAMP 10 AND TTL 10000",
        "DELETE v FROM {} USING TIMESTAMP 10 WHERE k = 1", "SELECT k, v FROM {}")
    assert got == [(1, None)]


def test_equal_timestamps_later_expiry_wins(table, session, rows):
    got = both_orders(
        table, session, rows, "UPDATE {} USING TIMESTAMP 10 AND TTL 10000 SET v = 'z' WHERE k = 1",
        "UPDATE {} USING TIMESTAMP 10 AND TTL 20000 SET v = 'a' WHERE k = 1", "SELECT v FROM {}")
    assert got == [("a",)]


def test_equal_timestamps_larger_value_wins(table, session, rows):
    got = both_orders(
        table, session, rows, "UPDATE {} USING TIMESTAMP 10 SET v = 'b' WHERE k = 1",
        "UPDATE {} USING TIMESTAMP 10 SET v = 'a' WHERE k = 1", "SELECT v FROM {}")
    assert got == [("b",)]


def test_equal_timestamps_are_decided_per_cell(table, session, rows):
    name = table("k int PRIMARY KEY, a int, b int")
    session.execute(f"UPDATE {name} USING TIMESTAMP 10 SET a = 1, b = 9 WHERE k = 1")
    session.execute(f"UPDATE {name} USING TIMESTAMP 10 SET a = 9, b = 1 WHERE k = 1")
    assert rows(f"SELECT a, b FROM {name}") == [(9, 9)]


def test_deletion_covers_its_own_timestamp(table, session, rows):
    name = table("p int, c int, v int, PRIMARY KEY (p, c)")
    for timestamp, clustering in ((9, 1), (10, 2), (11, 3)):
        session.execute(f"INSERT INTO {name} (p, c, v) VALUES (1, {clustering}, 0) USING TIMESTAMP {timestamp}")
    session.execute(f"DELETE FROM {name} USING TIMESTAMP 10 WHERE p = 1")
    assert rows(f"SELECT c FROM {name}") == [(3,)]


@pytest.mark.parametrize("where", ["p = 1 AND c = 2", "p = 1 AND c >= 2 AND c < 3", "p = 1"])
def test_deletion_holds_for_older_writes_that_come_later(table, session, rows, where):
    name = table("p int, c int, v int, PRIMARY KEY (p, c)")
    session.execute(f"DELETE FROM {name} USING TIMESTAMP 100 WHERE {where}")
    session.execute(f"INSERT INTO {name} (p, c, v) VALUES (1, 2, 0) USING TIMESTAMP 100")
    assert rows(f"SELECT c FROM {name}") == []
    session.execute(f"INSERT INTO {name} (p, c, v) VALUES (1, 2, 7) USING TIMESTAMP 101")
    assert rows(f"SELECT c, v FROM {name}") == [(2, 7)]


def test_insert_writes_a_row_marker(table, session, rows):
    name = table("k int PRIMARY KEY, v int")
    session.execute(f"INSERT INTO {name} (k, v) VALUES (1, 1)")
    session.execute(f"DELETE v FROM {name} WHERE k = 1")
    assert rows(f"SELECT k, v FROM {name}") == [(1, None)]
    session.execute(f"INSERT INTO {name} (k) VALUES (2)")
    assert rows(f"SELECT k, v FROM {name} WHERE k = 2") == [(2, None)]


def test_update_only_row_vanishes_with_its_cells(table, session, rows):
    name = table("k int PRIMARY KEY, v int, w int")
    session.execute(f"UPDATE {name} SET v = 1, w = 2 WHERE k = 1")
    session.execute(f"UPDATE {name} SET v = null WHERE k = 1")
    assert rows(f"SELECT k, v, w FROM {name}") == [(1, None, 2)]
    session.execute(f"DELETE w FROM {name} WHERE k = 1")
    assert rows(f"SELECT k, v, w FROM {name}") == []


def test_update_after_insert_keeps_the_marker(table, session, rows):
    name = table("p int, c int, v int, PRIMARY KEY (p, c)")
    session.execute(f"INSERT INTO {name} (p, c) VALUES (1, 1)")
    session.execute(f"UPDATE {name} SET v = 1 WHERE p = 1 AND c = 1")
    session.execute(f"UPDATE {name} SET v = null WHERE p = 1 AND c = 1")
    assert rows(f"SELECT p, c, v FROM {name}") == [(1, 1, None)]


def test_null_is_a_deletion(table, session, rows):
    name = table("k int PRIMARY KEY, v int")
    session.execute(f"INSERT INTO {name} (k, v) VALUES (1, 5)")
    session.execute(f"INSERT INTO {name} (k, v) VALUES (1, null)")
    assert rows(f"SELECT v FROM {name}") == [(None,)]


def test_bound_null_is_a_deletion(table, session, rows):
    name = table("k int PRIMARY KEY, v int")
    prepared = session.prepare(f"INSERT INTO {name} (k, v) VALUES (?, ?)")
    session.execute(prepared, (1, 5))
    session.execute(prepared, (1, None))
    assert rows(f"SELECT v FROM {name}") == [(None,)]


def test_unset_changes_nothing(table, session, rows):
    name = table("k int PRIMARY KEY, v int, w int")
    prepared = session.prepare(f"INSERT INTO {name} (k, v, w) VALUES (?, ?, ?)")
    session.execute(prepared, (1, 5, 6))
    session.execute(prepared, (1, UNSET_VALUE, 7))
    assert rows(f"SELECT v, w FROM {name}") == [(5, 7)]
    update = session.prepare(f"UPDATE {name} SET v = ?, w = ? WHERE k = ?")
    session.execute(update, (UNSET_VALUE, 8, 1))
    assert rows(f"SELECT v, w FROM {name}") == [(5, 8)]


def test_unset_or_null_key_is_an_error(table, session):
    name = table("p int, c int, v int, PRIMARY KEY (p, c)")
    prepared = session.prepare(f"INSERT INTO {name} (p, c, v) VALUES (?, ?, ?)")
    for key in ((None, 1), (1, None), (1, UNSET_VALUE)):
        with pytest.raises(InvalidRequest):
            session.execute(prepared, (*key, 0))
    for values in ("null, 1, 0", "1, null, 0"):
        with pytest.raises(InvalidRequest):
            session.execute(f"INSERT INTO {name} (p, c, v) VALUES ({values})")


def test_empty_value_is_neither_null_nor_unset(table, session, rows):
    name = table("k text PRIMARY KEY, t text, b blob")
    session.execute(session.prepare(f"INSERT INTO {name} (k, t, b) VALUES (?, ?, ?)"), ("x", "", b""))
    assert rows(f"SELECT t, b FROM {name}") == [("", b"")]
    with pytest.raises(InvalidRequest, match="(?i)key may not be empty"):
        session.execute(f"INSERT INTO {name} (k, t) VALUES ('', 'a')")


def test_empty_clustering_value_is_allowed(table, session, rows):
    name = table("p int, c text, PRIMARY KEY (p, c)")
    for clustering in ("b", "", "a"):
        session.execute(session.prepare(f"INSERT INTO {name} (p, c) VALUES (?, ?)"), (1, clustering))
    assert rows(f"SELECT c FROM {name} WHERE p = 1") == [("",), ("a",), ("b",)]


def test_null_in_where_is_an_error(table, session):
    name = table("k int PRIMARY KEY, v int")
    for statement in (f"SELECT * FROM {name} WHERE v = null ALLOW FILTERING", f"SELECT * FROM {name} WHERE k = null"):
        with pytest.raises(InvalidRequest):
            session.execute(statement)


def test_partition_with_only_static_data_is_one_row(table, session, rows):
    name = table("p int, c int, s text static, v int, PRIMARY KEY (p, c)")
    session.execute(f"INSERT INTO {name} (p, s) VALUES (1, 'one')")
    assert rows(f"SELECT p, c, s, v FROM {name} WHERE p = 1") == [(1, None, "one", None)]
    session.execute(f"INSERT INTO {name} (p, c, v) VALUES (1, 5, 6)")
    assert rows(f"SELECT p, c, s, v FROM {name} WHERE p = 1") == [(1, 5, "one", 6)]
    session.execute(f"DELETE FROM {name} WHERE p = 1 AND c = 5")
    assert rows(f"SELECT p, c, s, v FROM {name} WHERE p = 1") == [(1, None, "one", None)]


def test_static_only_partition_is_not_in_a_slice(table, session, rows):
    name = table("p int, c int, s text static, v int, PRIMARY KEY (p, c)")
    session.execute(f"INSERT INTO {name} (p, s) VALUES (1, 'one')")
    assert rows(f"SELECT c, s FROM {name} WHERE p = 1 AND c > 0") == []
    assert rows(f"SELECT c, s FROM {name} WHERE p = 1 AND c = 0") == []


def test_static_is_one_value_for_all_rows(table, session, rows):
    name = table("p int, c int, s text static, v int, PRIMARY KEY (p, c)")
    for clustering in (1, 2, 3):
        session.execute(f"INSERT INTO {name} (p, c, s, v) VALUES (1, {clustering}, 's{clustering}', 0)")
    assert rows(f"SELECT c, s FROM {name} WHERE p = 1") == [(1, "s3"), (2, "s3"), (3, "s3")]
    assert rows(f"SELECT DISTINCT p, s FROM {name}") == [(1, "s3")]


def test_delete_of_a_static_needs_the_partition_key_only(table, session, rows):
    name = table("p int, c int, s text static, v int, PRIMARY KEY (p, c)")
    session.execute(f"INSERT INTO {name} (p, c, s, v) VALUES (1, 1, 'x', 2)")
    session.execute(f"DELETE s FROM {name} WHERE p = 1")
    assert rows(f"SELECT p, c, s, v FROM {name}") == [(1, 1, None, 2)]
    session.execute(f"UPDATE {name} SET s = 'y' WHERE p = 1")
    assert rows(f"SELECT s FROM {name}") == [("y",)]
    with pytest.raises(InvalidRequest):
        session.execute(f"UPDATE {name} SET s = 'z' WHERE p = 1 AND c > 1")


def test_condition_on_a_static_when_the_row_is_missing(table, session, rows):
    name = table("p int, c int, s int static, v int, PRIMARY KEY (p, c)")
    session.execute(f"INSERT INTO {name} (p, s) VALUES (1, 1)")
    first = rows(f"UPDATE {name} SET v = 5 WHERE p = 1 AND c = 1 IF s = 1")
    assert first == [(True,)]
    second = rows(f"UPDATE {name} SET v = 6 WHERE p = 1 AND c = 1 IF s = 2")
    assert second == [(False, 1)]
    assert rows(f"SELECT c, s, v FROM {name}") == [(1, 1, 5)]


def test_token_ranges_cover_the_ring_once(table, session, rows):
    name = table("k int PRIMARY KEY")
    for key in range(200):
        session.execute(f"INSERT INTO {name} (k) VALUES (%s)", (key,))
    everything = rows(f"SELECT k, token(k) FROM {name}")
    assert sorted(key for key, _ in everything) == list(range(200))
    tokens = [token for _, token in everything]
    assert tokens == sorted(tokens), "a scan goes in token order"
    bounds = [-(2**63), tokens[50], tokens[50] + 1, 0, tokens[150], 2**63 - 1]
    got = []
    for low, high in itertools.pairwise(bounds):
        got += rows(f"SELECT k FROM {name} WHERE token(k) > %s AND token(k) <= %s", (low, high))
    assert sorted(got) == sorted((key,) for key, _ in everything)


def test_token_range_excludes_its_start_and_includes_its_end(table, session, rows):
    name = table("k int PRIMARY KEY")
    for key in range(20):
        session.execute(f"INSERT INTO {name} (k) VALUES (%s)", (key,))
    tokens = [token for (token,) in rows(f"SELECT token(k) FROM {name}")]
    low, high = tokens[3], tokens[7]
    query = f"SELECT token(k) FROM {name} WHERE token(k) > {low} AND token(k) <= {high}"
    assert [token for (token,) in rows(query)] == tokens[4:8]
    assert rows(f"SELECT k FROM {name} WHERE token(k) > {high} AND token(k) <= {low}") == []


@pytest.mark.parametrize(("literal", "token"), [
    ("0xc3bfc3bfc3bf", -8597896167535610877), ("0xffffff", -9154616442117352147)])
def test_murmur3_is_cassandras(table, session, rows, literal, token):
    name = table("k blob PRIMARY KEY")
    session.execute(f"INSERT INTO {name} (k) VALUES ({literal})")
    if literal == "0xffffff":
        assert rows(f"SELECT k FROM {name} WHERE token(k) = token({literal})") == [(b"\xff\xff\xff",)]
    got = rows(f"SELECT token(k) FROM {name}")
    assert isinstance(got[0][0], int)
    if literal == "0xc3bfc3bfc3bf":
        assert got == [(token,)]


def test_token_of_a_composite_key(table, session, cluster, rows):
    name = table("a int, b text, c int, PRIMARY KEY ((a, b), c)")
    session.execute(f"INSERT INTO {name} (a, b, c) VALUES (1, 'x', 0)")
    prepared = session.prepare(f"SELECT token(a, b) FROM {name} WHERE a = ? AND b = ?")
    bound = prepared.bind((1, "x"))
    from cassandra.metadata import Murmur3Token
    assert [tuple(row) for row in session.execute(bound)] == [(Murmur3Token.from_key(bound.routing_key).value,)]


def test_paging_ends_only_when_the_server_says_so(table, session):
    name = table("p int, c int, v int, PRIMARY KEY (p, c)")
    for partition, clustering in itertools.product(range(5), range(20)):
        session.execute(f"INSERT INTO {name} (p, c, v) VALUES (%s, %s, %s)", (partition, clustering, clustering))
    from cassandra.query import SimpleStatement
    result = session.execute(SimpleStatement(f"SELECT c FROM {name} WHERE v = 19 ALLOW FILTERING", fetch_size=7))
    assert [row.c for row in result] == [19] * 5


def test_one_timestamp_for_a_batch(table, session, rows):
    name = table("k int PRIMARY KEY, v text")
    session.execute(f"BEGIN BATCH INSERT INTO {name} (k, v) VALUES (1, 'b'); INSERT INTO {name} (k, v) VALUES (1, 'a'); "
                    f"INSERT INTO {name} (k, v) VALUES (2, 'c'); APPLY BATCH")
    got = rows(f"SELECT v, writetime(v) FROM {name}")
    assert {value for value, _ in got} == {"b", "c"}, "equal timestamps: the larger value wins"
    assert len({timestamp for _, timestamp in got}) == 1


def test_empty_batch_is_a_no_op(session):
    assert list(session.execute("BEGIN BATCH APPLY BATCH")) == []


def test_conditional_batch_answers_applied_first(table, session, rows):
    name = table("p int, c int, v int, PRIMARY KEY (p, c)")
    statement = (f"BEGIN BATCH INSERT INTO {name} (p, c, v) VALUES (1, 1, 1) IF NOT EXISTS; "
                 f"INSERT INTO {name} (p, c, v) VALUES (1, 2, 2) IF NOT EXISTS; APPLY BATCH")
    assert rows(statement) == [(True,)]
    refused = rows(statement)
    assert refused and all(row[0] is False for row in refused)


def test_no_timestamp_in_a_conditional_write(table, session):
    name = table("k int PRIMARY KEY, v int")
    with pytest.raises(InvalidRequest):
        session.execute(f"INSERT INTO {name} (k, v) VALUES (1, 1) IF NOT EXISTS USING TIMESTAMP 5")


def test_list_by_index_reads_before_it_writes(table, session, rows):
    name = table("k int PRIMARY KEY, l list<int>")
    session.execute(f"INSERT INTO {name} (k, l) VALUES (1, [10, 20, 30])")
    session.execute(f"UPDATE {name} SET l[1] = 21 WHERE k = 1")
    assert rows(f"SELECT l FROM {name}") == [([10, 21, 30],)]
    session.execute(f"DELETE l[0] FROM {name} WHERE k = 1")
    assert rows(f"SELECT l FROM {name}") == [([21, 30],)]
    with pytest.raises(InvalidRequest, match="(?i)index 5 out of bound"):
        session.execute(f"UPDATE {name} SET l[5] = 0 WHERE k = 1")


def test_ttl_past_2038(table, session, rows):
    name = table("k int PRIMARY KEY, v int")
    twenty_years_s = 630720000
    session.execute(f"INSERT INTO {name} (k, v) VALUES (1, 1) USING TTL {twenty_years_s}")
    [(value, ttl)] = rows(f"SELECT v, ttl(v) FROM {name}")
    assert value == 1
    assert twenty_years_s - 60 <= ttl <= twenty_years_s
    with pytest.raises(InvalidRequest):
        session.execute(f"INSERT INTO {name} (k, v) VALUES (1, 1) USING TTL {twenty_years_s + 1}")


def test_a_set_is_the_same_however_a_client_orders_it(table, session, rows):
    name = table("k frozen<map<frozen<set<int>>, int>> PRIMARY KEY")
    insert = session.prepare(f"INSERT INTO {name} (k) VALUES (?)")
    # Tuples keep their order on the way, sets do not.
    session.execute(insert, [{(3, 1, 2): 1}])
    lookup = session.prepare(f"SELECT count(*) FROM {name} WHERE k = ?")
    for order in itertools.permutations((1, 2, 3)):
        assert session.execute(lookup, [{order: 1}]).one()[0] == 1
    assert rows(f"SELECT count(*) FROM {name} WHERE k = {{{{2, 3, 1}}: 1}}") == [(1,)]


def test_clustering_values_are_as_short_as_a_partition_key(table, session):
    name = table("k int, a blob, b blob, PRIMARY KEY (k, a, b)")
    insert = session.prepare(f"INSERT INTO {name} (k, a, b) VALUES (1, ?, ?)")
    session.execute(insert, [b"a" * 60_000, b"b" * 5_535])
    with pytest.raises(InvalidRequest, match="Key length of 65536 is longer than maximum of 65535"):
        session.execute(insert, [b"a" * 60_000, b"b" * 5_536])


def test_a_user_type_in_a_set_may_get_fields(table, session, rows):
    keyspace = session.keyspace
    session.execute(f"DROP TYPE IF EXISTS {keyspace}.grows")
    session.execute(f"CREATE TYPE {keyspace}.grows (a int)")
    name = table("k int PRIMARY KEY, v set<frozen<grows>>")
    session.execute(f"INSERT INTO {name} (k, v) VALUES (1, {{{{a: 1}}}})")
    session.execute(f"ALTER TYPE {keyspace}.grows ADD b int")
    session.execute(f"UPDATE {name} SET v = v + {{{{a: 1, b: 2}}}} WHERE k = 1")
    assert rows(f"SELECT toJson(v) FROM {name}") == [('[{"a": 1, "b": null}, {"a": 1, "b": 2}]',)]


def test_a_changed_result_is_prepared_again(table, session):
    name = table("k int PRIMARY KEY, v int")
    session.execute(f"INSERT INTO {name} (k, v) VALUES (1, 2)")
    prepared = session.prepare(f"SELECT * FROM {name} WHERE k = ?")
    assert len(prepared.result_metadata) == 2
    session.execute(f"ALTER TABLE {name} ADD w int")
    assert tuple(session.execute(prepared, [1]).one()) == (1, 2, None)
    assert len(prepared.result_metadata) == 3
