"""Reading: keys, slices, IN, ordering, paging, limits, grouping and aggregates, against a model in Python."""

import itertools

import pytest
from cassandra import InvalidRequest
from cassandra.query import SimpleStatement

COLUMNS = "p int, a int, b text, v int, s int static, PRIMARY KEY (p, a, b)"
MODEL = [(p, a, b, p * 100 + a * 10 + ord(b)) for p, a, b in itertools.product(range(3), range(5), "xyz")]


@pytest.fixture
def filled(table, session):
    """A table with the rows of MODEL; the second clustering column runs backwards."""
    name = table(COLUMNS, "WITH CLUSTERING ORDER BY (a ASC, b DESC)")
    insert = session.prepare(f"INSERT INTO {name} (p, a, b, v) VALUES (?, ?, ?, ?)")
    for row in MODEL:
        session.execute(insert, row)
    return name


def in_order(keep):
    return [(a, b) for p, a, b, _ in sorted(MODEL, key=lambda row: (row[1], -ord(row[2]))) if p == 1 and keep(a, b)]


SLICES = [
    ("", lambda a, b: True),
    ("AND a = 2", lambda a, b: a == 2),
    ("AND a > 2", lambda a, b: a > 2),
    ("AND a >= 2 AND a < 4", lambda a, b: 2 <= a < 4),
    ("AND a <= 1", lambda a, b: a <= 1),
    ("AND a = 2 AND b = 'y'", lambda a, b: a == 2 and b == "y"),
    ("AND a = 2 AND b > 'x'", lambda a, b: a == 2 and b > "x"),
    ("AND a = 2 AND b >= 'x' AND b < 'z'", lambda a, b: a == 2 and "x" <= b < "z"),
    ("AND a IN (0, 3)", lambda a, b: a in (0, 3)),
    ("AND a IN (3, 0, 3) AND b = 'z'", lambda a, b: a in (0, 3) and b == "z"),
    ("AND a = 1 AND b IN ('x', 'z')", lambda a, b: a == 1 and b in "xz"),
    ("AND (a, b) = (2, 'y')", lambda a, b: (a, b) == (2, "y")),
    ("AND (a, b) IN ((2, 'y'), (0, 'x'))", lambda a, b: (a, b) in ((2, "y"), (0, "x"))),
    ("AND (a, b) > (2, 'y')", lambda a, b: (a, b) > (2, "y")),
    ("AND (a, b) >= (1, 'y') AND (a, b) <= (3, 'x')", lambda a, b: (1, "y") <= (a, b) <= (3, "x")),
    ("AND (a) > (1) AND (a, b) < (3, 'y')", lambda a, b: a > 1 and (a, b) < (3, "y")),
    ("AND a > 5", lambda a, b: False),
    ("AND a > 3 AND a < 2", lambda a, b: False),
    ("AND a IN ()", lambda a, b: False),
]


@pytest.mark.parametrize(("where", "keep"), SLICES, ids=[where or "all" for where, _ in SLICES])
def test_slice(filled, rows, where, keep):
    assert rows(f"SELECT a, b FROM {filled} WHERE p = 1 {where}") == in_order(keep)
    reverse = rows(f"SELECT a, b FROM {filled} WHERE p = 1 {where} ORDER BY a DESC, b ASC")
    assert reverse == in_order(keep)[::-1]
    assert rows(f"SELECT a, b FROM {filled} WHERE p = 1 {where} ORDER BY a DESC LIMIT 2") == in_order(keep)[::-1][:2]


@pytest.mark.parametrize("where", ["a = ?", "a > ?", "a IN ?", "(a, b) > (?, ?)"])
def test_prepared_slice(filled, session, where):
    values = {"a = ?": (1, 2), "a > ?": (1, 2), "a IN ?": (1, [0, 3]), "(a, b) > (?, ?)": (1, 2, "y")}[where]
    keep = {"a = ?": lambda a, b: a == 2, "a > ?": lambda a, b: a > 2, "a IN ?": lambda a, b: a in (0, 3),
            "(a, b) > (?, ?)": lambda a, b: (a, b) > (2, "y")}[where]
    prepared = session.prepare(f"SELECT a, b FROM {filled} WHERE p = ? AND {where}")
    assert [tuple(row) for row in session.execute(prepared, values)] == in_order(keep)


def test_partitions_by_in(filled, rows):
    got = rows(f"SELECT p, a, b, v FROM {filled} WHERE p IN (2, 0, 7) AND a = 1 AND b = 'x'")
    assert sorted(got) == [(p, 1, "x", p * 100 + 10 + ord("x")) for p in (0, 2)]


def test_in_with_order_and_limit(filled, session):
    statement = SimpleStatement(f"SELECT p, a FROM {filled} WHERE p IN (0, 1, 2) ORDER BY a DESC LIMIT 4", fetch_size=None)
    assert [row.a for row in session.execute(statement)] == [4, 4, 4, 4]


@pytest.mark.parametrize("fetch_size", [1, 2, 3, 7, 44, 45, 46, 5000])
def test_paging_gives_every_row_once(filled, session, fetch_size):
    session.execute(f"UPDATE {filled} SET s = 7 WHERE p = 99")
    whole = [tuple(row) for row in session.execute(SimpleStatement(f"SELECT p, a, b, v, s FROM {filled}", fetch_size=None))]
    assert len(whole) == len(MODEL) + 1
    paged = session.execute(SimpleStatement(f"SELECT p, a, b, v, s FROM {filled}", fetch_size=fetch_size))
    assert [tuple(row) for row in paged] == whole
    one = session.execute(SimpleStatement(f"SELECT a, b FROM {filled} WHERE p = 1 ORDER BY a DESC", fetch_size=fetch_size))
    assert [tuple(row) for row in one] == in_order(lambda a, b: True)[::-1]
    limited = session.execute(SimpleStatement(f"SELECT a FROM {filled} LIMIT 10", fetch_size=fetch_size))
    assert len(list(limited)) == 10
    several = session.execute(SimpleStatement(f"SELECT p, a FROM {filled} WHERE p IN (0, 1, 2)", fetch_size=fetch_size))
    assert len(list(several)) == len(MODEL)


def test_paging_state_continues_in_another_session(filled, session, connect, keyspace):
    statement = SimpleStatement(f"SELECT p, a, b FROM {filled}", fetch_size=10)
    first = session.execute(statement)
    got, state = [tuple(row) for row in first.current_rows], first.paging_state
    assert len(got) == 10 and state
    other = connect().connect(keyspace)
    while state:
        page = other.execute(statement, paging_state=state)
        got += [tuple(row) for row in page.current_rows]
        state = page.paging_state
    assert len(got) == len(set(got)) == len(MODEL)


def test_paging_goes_on_over_deletions(filled, session):
    result = session.execute(SimpleStatement(f"SELECT a, b FROM {filled} WHERE p = 1", fetch_size=4))
    first = [tuple(row) for row in result.current_rows]
    session.execute(f"DELETE FROM {filled} WHERE p = 1 AND a = {first[-1][0]} AND b = '{first[-1][1]}'")
    session.execute(f"DELETE FROM {filled} WHERE p = 1 AND a = 3")
    rest = []
    while result.has_more_pages:
        result.fetch_next_page()
        rest += [tuple(row) for row in result.current_rows]
    assert first + rest == in_order(lambda a, b: a != 3)


def test_garbage_paging_state_is_refused(filled, connect, keyspace):
    own = connect().connect(keyspace)  # the driver closes a connection that saw a protocol error
    with pytest.raises(Exception, match="(?i)paging|invalid"):
        own.execute(SimpleStatement(f"SELECT * FROM {filled}", fetch_size=5), paging_state=b"\x01\x02garbage")


def test_limits(filled, rows):
    assert len(rows(f"SELECT * FROM {filled} LIMIT 7")) == 7
    per = rows(f"SELECT p FROM {filled} PER PARTITION LIMIT 2")
    assert sorted(per) == [(p,) for p in (0, 0, 1, 1, 2, 2)]
    assert len(rows(f"SELECT p FROM {filled} PER PARTITION LIMIT 2 LIMIT 5")) == 5
    assert len(rows(f"SELECT p FROM {filled} LIMIT %s", (3,))) == 3
    with pytest.raises(InvalidRequest):
        rows(f"SELECT * FROM {filled} LIMIT 0")


@pytest.mark.parametrize("fetch_size", [1, 3, 5000])
def test_per_partition_limit_over_pages(filled, session, fetch_size):
    statement = SimpleStatement(f"SELECT p, a, b FROM {filled} PER PARTITION LIMIT 4", fetch_size=fetch_size)
    got = [tuple(row) for row in session.execute(statement)]
    assert sorted(p for p, _, _ in got) == [0] * 4 + [1] * 4 + [2] * 4
    assert {(a, b) for _, a, b in got} == {(0, "z"), (0, "y"), (0, "x"), (1, "z")}


@pytest.mark.parametrize("fetch_size", [2, 5000])
def test_aggregates(filled, session, fetch_size):
    def one(text):
        return tuple(session.execute(SimpleStatement(text, fetch_size=fetch_size)).one())

    values = [v for _, _, _, v in MODEL]
    assert one(f"SELECT count(*) FROM {filled}") == (len(MODEL),)
    assert one(f"SELECT COUNT(1), count(s), count(v) FROM {filled}") == (len(MODEL), 0, len(MODEL))
    assert one(f"SELECT min(v), max(v), sum(v), avg(v) FROM {filled}") == (
        min(values), max(values), sum(values), sum(values) // len(values))
    assert one(f"SELECT count(*), max(b) FROM {filled} WHERE p = 1 AND a > 2") == (6, "z")
    assert one(f"SELECT count(*), min(v), sum(v) FROM {filled} WHERE p = 77") == (0, None, 0)


@pytest.mark.parametrize(("cql_type", "values", "total", "mean"), [
    ("bigint", [2**40, 2, 3], 2**40 + 5, (2**40 + 5) // 3), ("double", [1.5, 2.5], 4.0, 2.0), ("float", [0.5, 1.0], 1.5, 0.75),
    ("varint", [10**30, 2], 10**30 + 2, (10**30 + 2) // 2), ("tinyint", [100, 20], 120, 60), ("smallint", [-3, 2], -1, 0)])
def test_sum_and_average_keep_the_type(table, session, rows, cql_type, values, total, mean):
    name = table(f"k int PRIMARY KEY, v {cql_type}")
    for key, value in enumerate(values):
        session.execute(f"INSERT INTO {name} (k, v) VALUES ({key}, {value})")
    assert rows(f"SELECT sum(v), avg(v) FROM {name}") == [(total, mean)]


@pytest.mark.parametrize("fetch_size", [1, 4, 5000])
def test_group_by(filled, session, fetch_size):
    def run(text):
        return [tuple(row) for row in session.execute(SimpleStatement(text, fetch_size=fetch_size))]

    assert sorted(run(f"SELECT p, count(*) FROM {filled} GROUP BY p")) == [(p, 15) for p in range(3)]
    assert run(f"SELECT a, count(*), max(v) FROM {filled} WHERE p = 1 GROUP BY p, a") == [
        (a, 3, 100 + a * 10 + ord("z")) for a in range(5)]
    assert len(run(f"SELECT p, a, sum(v) FROM {filled} GROUP BY p, a")) == 15
    with pytest.raises(InvalidRequest):
        run(f"SELECT v, count(*) FROM {filled} GROUP BY v")


@pytest.mark.parametrize("fetch_size", [1, 2, 5000])
def test_distinct(filled, session, fetch_size):
    got = session.execute(SimpleStatement(f"SELECT DISTINCT p FROM {filled}", fetch_size=fetch_size))
    assert sorted(row.p for row in got) == [0, 1, 2]
    with pytest.raises(InvalidRequest):
        session.execute(f"SELECT DISTINCT a FROM {filled}")


@pytest.mark.parametrize("where", [
    "a = 1", "v = 3", "p = 1 AND b = 'x'", "p = 1 AND v > 5", "a > 1 AND b = 'x'"])
def test_filtering_is_refused_unless_asked_for(filled, rows, where):
    with pytest.raises(InvalidRequest, match="ALLOW FILTERING|cannot be restricted"):
        rows(f"SELECT * FROM {filled} WHERE {where}")


def test_filtering_when_asked_for(filled, rows):
    got = rows(f"SELECT p, a, b FROM {filled} WHERE v > 250 AND b = 'z' ALLOW FILTERING")
    assert sorted(got) == sorted((p, a, b) for p, a, b, v in MODEL if v > 250 and b == "z")
    assert len(rows(f"SELECT p FROM {filled} WHERE a = 2 ALLOW FILTERING")) == 9


@pytest.mark.parametrize("statement", [
    "SELECT * FROM {} WHERE nothing = 1", "SELECT nothing FROM {}", "SELECT * FROM {} WHERE p > 1",
    "SELECT * FROM {} ORDER BY a", "SELECT * FROM {} WHERE p = 1 ORDER BY b", "SELECT * FROM {} WHERE p = 1 ORDER BY v",
    "SELECT * FROM {} WHERE p = 1 ORDER BY a ASC, b ASC", "SELECT * FROM {} WHERE p = 1 AND p = 2",
    "SELECT * FROM {} WHERE p = 1 AND a > 1 AND a > 2", "SELECT * FROM {} WHERE p = 'x'",
    "SELECT * FROM {} WHERE token(p, a) > 0", "SELECT * FROM {} WHERE p = 1 AND (b, a) = ('x', 1)"])
def test_wrong_select_is_refused(filled, rows, statement):
    with pytest.raises(InvalidRequest):
        rows(statement.format(filled))


def test_aliases_and_json(filled, session, rows):
    row = session.execute(f"SELECT p AS partition, count(*) AS number FROM {filled} WHERE p = 1").one()
    assert (row.partition, row.number) == (1, 15)
    assert rows(f"SELECT JSON p, a, b FROM {filled} WHERE p = 1 LIMIT 1") == [('{"p": 1, "a": 0, "b": "z"}',)]


def test_names_with_quotes_keep_their_case(table, session, rows):
    name = table('"Key" int PRIMARY KEY, "select" int, "With ""quotes""" int')
    session.execute(f'INSERT INTO {name} ("Key", "select", "With ""quotes""") VALUES (1, 2, 3)')
    assert rows(f'SELECT "Key", "select", "With ""quotes""" FROM {name}') == [(1, 2, 3)]
    with pytest.raises(InvalidRequest):
        rows(f"SELECT key FROM {name}")


def test_composite_partition_key(table, session, rows):
    name = table("a int, b text, c int, v int, PRIMARY KEY ((a, b), c)")
    for a, b, c in itertools.product(range(2), "xy", range(3)):
        session.execute(f"INSERT INTO {name} (a, b, c, v) VALUES ({a}, '{b}', {c}, 0)")
    assert rows(f"SELECT c FROM {name} WHERE a = 1 AND b = 'x'") == [(0,), (1,), (2,)]
    assert len(rows(f"SELECT c FROM {name} WHERE a IN (0, 1) AND b IN ('x', 'y') AND c = 1")) == 4
    with pytest.raises(InvalidRequest):
        rows(f"SELECT c FROM {name} WHERE a = 1")


def test_many_rows_in_one_partition(table, session):
    from cassandra.concurrent import execute_concurrent_with_args
    name = table("p int, c int, v text, PRIMARY KEY (p, c)")
    insert = session.prepare(f"INSERT INTO {name} (p, c, v) VALUES (1, ?, ?)")
    execute_concurrent_with_args(session, insert, [(c, "x" * 100) for c in range(5000)], concurrency=100)
    statement = SimpleStatement(f"SELECT c FROM {name} WHERE p = 1", fetch_size=777)
    assert [row.c for row in session.execute(statement)] == list(range(5000))
    assert session.execute(f"SELECT count(*) FROM {name} WHERE p = 1 AND c >= 1000 AND c < 2500").one()[0] == 1500
