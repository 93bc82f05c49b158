"""Types: every scalar and collection there and back, written as a literal, as a bound value, and prepared."""

import datetime
import decimal
import ipaddress
import math
import uuid

import pytest
from cassandra import InvalidRequest
from cassandra.query import SimpleStatement
from cassandra.util import Date, Duration, Time

UUID = uuid.UUID("f47ac10b-58cc-4372-a567-0e02b2c3d479")
TIMEUUID = uuid.UUID("7d9a2c00-1dd2-11b2-8080-808080808080")

# type, a literal of CQL, the value that the driver shows
SCALARS = [
    ("ascii", "'plain'", "plain"),
    ("bigint", "-9223372036854775808", -(2**63)),
    ("bigint", "9223372036854775807", 2**63 - 1),
    ("blob", "0xcafe00ff", b"\xca\xfe\x00\xff"),
    ("blob", "0x", b""),
    ("boolean", "true", True),
    ("boolean", "FALSE", False),
    ("date", "'2024-02-29'", Date("2024-02-29")),
    ("date", "'1582-10-15'", Date("1582-10-15")),
    ("decimal", "-123456789012345678901234567890.123456789", decimal.Decimal("-123456789012345678901234567890.123456789")),
    ("decimal", "0", decimal.Decimal("0")),
    ("decimal", "1E+3", decimal.Decimal("1E+3")),
    ("double", "-1.7976931348623157e308", -1.7976931348623157e308),
    ("double", "NaN", math.nan),
    ("double", "-Infinity", -math.inf),
    ("duration", "1y2mo3w4d5h6m7s8ms9us10ns", Duration(14, 25, 18367008009010)),
    ("duration", "-P1Y2M3DT4H5M6S", Duration(-14, -3, -14706000000000)),
    ("float", "1.5", 1.5),
    ("float", "Infinity", math.inf),
    ("inet", "'127.0.0.1'", "127.0.0.1"),
    ("inet", "'2001:db8::1'", "2001:db8::1"),
    ("int", "-2147483648", -(2**31)),
    ("int", "2147483647", 2**31 - 1),
    ("smallint", "-32768", -32768),
    ("text", "'it''s ünïcode 漢字 \U0001f600'", "it's ünïcode 漢字 \U0001f600"),
    ("text", "$$dollars 'quoted'$$", "dollars 'quoted'"),
    ("text", "''", ""),
    ("varchar", "'v'", "v"),
    ("time", "'23:59:59.999999999'", Time("23:59:59.999999999")),
    ("timestamp", "'2024-02-29 12:34:56.789+0000'", datetime.datetime(2024, 2, 29, 12, 34, 56, 789000)),
    ("timestamp", "'2024-02-29T12:34:56.789Z'", datetime.datetime(2024, 2, 29, 12, 34, 56, 789000)),
    ("timestamp", "'2024-02-29+0000'", datetime.datetime(2024, 2, 29)),
    ("timestamp", "-1", datetime.datetime(1969, 12, 31, 23, 59, 59, 999000)),
    ("timeuuid", str(TIMEUUID), TIMEUUID),
    ("tinyint", "-128", -128),
    ("uuid", str(UUID), UUID),
    ("varint", "-123456789012345678901234567890", -123456789012345678901234567890),
    ("varint", "0", 0),
    ("varint", "128", 128),
    ("list<int>", "[3, 1, 3]", [3, 1, 3]),
    ("set<int>", "{3, 1, 2}", {1, 2, 3}),
    ("set<text>", "{'b', 'a'}", {"a", "b"}),
    ("map<text, int>", "{'b': 2, 'a': 1}", {"a": 1, "b": 2}),
    ("frozen<list<text>>", "['a', 'b']", ["a", "b"]),
    ("frozen<set<uuid>>", f"{{{UUID}}}", {UUID}),
    ("frozen<map<int, text>>", "{1: 'a'}", {1: "a"}),
    ("map<int, frozen<list<text>>>", "{1: ['a', 'b'], 2: ['c']}", {1: ["a", "b"], 2: ["c"]}),
    ("list<frozen<map<text, frozen<set<int>>>>>", "[{'a': {1, 2}}]", [{"a": {1, 2}}]),
    ("tuple<int, text, boolean>", "(1, 'a', true)", (1, "a", True)),
    ("tuple<int, text>", "(1, null)", (1, None)),
    ("frozen<tuple<int, frozen<list<int>>>>", "(1, [2, 3])", (1, [2, 3])),
    ("vector<float, 3>", "[1.0, 2.5, -3.0]", [1.0, 2.5, -3.0]),
]


def plain(value):
    """A value that can be compared: the driver's sorted sets and maps as Python's own."""
    if type(value).__name__ in ("SortedSet", "set", "frozenset"):
        return {plain(inner) for inner in value}
    if type(value).__name__ in ("OrderedMapSerializedKey", "OrderedMap", "dict"):
        return {plain(key): plain(inner) for key, inner in value.items()}
    if type(value).__name__ == "list":
        return [plain(inner) for inner in value]
    return value


def same(got, expected):
    if isinstance(expected, float) and math.isnan(expected):
        return math.isnan(got)
    if isinstance(expected, str) and isinstance(got, (ipaddress.IPv4Address, ipaddress.IPv6Address)):
        return str(got) == expected
    return plain(got) == expected and (type(got) is not bool) == (type(expected) is not bool)


@pytest.mark.parametrize(("cql_type", "literal", "expected"), SCALARS)
def test_round_trip(table, session, rows, cql_type, literal, expected):
    name = table(f"k int PRIMARY KEY, v {cql_type}")
    session.execute(SimpleStatement(f"INSERT INTO {name} (k, v) VALUES (1, {literal})"))
    [(value,)] = rows(f"SELECT v FROM {name} WHERE k = 1")
    assert same(value, expected), f"the literal came back as {value!r}"
    insert = session.prepare(f"INSERT INTO {name} (k, v) VALUES (?, ?)")
    session.execute(insert, (2, expected))
    [(value,)] = rows(f"SELECT v FROM {name} WHERE k = 2")
    assert same(value, expected), f"the bound value came back as {value!r}"
    select = session.prepare(f"SELECT v FROM {name} WHERE k = ?")
    [row] = session.execute(select, (1,))
    assert same(row.v, expected), f"the prepared SELECT gave {row.v!r}"
    session.execute(insert, (1, None))
    [(value,)] = rows(f"SELECT v FROM {name} WHERE k = 1")
    assert value is None


KEY_VALUES = {
    "int": [-5, -1, 0, 1, 70000], "bigint": [-(2**40), -1, 0, 2**40], "smallint": [-300, -1, 0, 1, 300],
    "tinyint": [-128, -1, 0, 127], "text": ["", "A", "a", "aa", "b", "é"], "ascii": ["A", "a", "b"],
    "blob": [b"", b"\x00", b"\x7f", b"\x80", b"\xff", b"\xff\x00"], "boolean": [False, True],
    "double": [-math.inf, -1.5, 0.0, 1.5, math.inf], "float": [-2.5, 0.0, 0.5], "varint": [-(10**20), -129, -128, -1, 0, 127, 128, 10**20],
    "decimal": [decimal.Decimal(text) for text in ("-1E+10", "-1.5", "0", "0.01", "1.5", "1E+10")],
    "date": [Date("1960-01-01"), Date("1970-01-01"), Date("2024-01-01")],
    "time": [Time("00:00:00"), Time("00:00:00.000000001"), Time("23:00:00")],
    "timestamp": [datetime.datetime(1960, 1, 1), datetime.datetime(1970, 1, 1), datetime.datetime(2024, 1, 1)],
    "inet": ["10.0.0.1", "127.0.0.1", "200.0.0.1"],
    "timeuuid": [uuid.UUID("00000000-0000-1000-8000-000000000001"), uuid.UUID("ffffffff-0000-1000-8000-000000000000"),
                 uuid.UUID("00000000-0001-1000-8000-000000000000")],
    "frozen<list<int>>": [[], [-1], [0], [0, 0], [1]],
    "frozen<tuple<int, text>>": [(-1, "b"), (1, "a"), (1, "b")],
}


@pytest.mark.parametrize("cql_type", KEY_VALUES)
@pytest.mark.parametrize("order", ["ASC", "DESC"])
def test_clustering_order_of_the_type(table, session, rows, cql_type, order):
    name = table(f"p int, c {cql_type}, PRIMARY KEY (p, c)", f"WITH CLUSTERING ORDER BY (c {order})")
    expected = KEY_VALUES[cql_type]
    insert = session.prepare(f"INSERT INTO {name} (p, c) VALUES (1, ?)")
    for value in reversed(expected):
        session.execute(insert, (value,))
    got = [plain(value) for (value,) in rows(f"SELECT c FROM {name} WHERE p = 1")]
    shown = [str(value) if cql_type == "inet" else value for value in got]
    assert shown == (expected if order == "ASC" else expected[::-1])
    if cql_type.startswith("frozen"):
        return
    select = session.prepare(f"SELECT c FROM {name} WHERE p = 1 AND c >= ? AND c < ?")
    got = [row.c for row in session.execute(select, (expected[0], expected[-1]))]
    assert len(got) == len(expected) - 1


@pytest.mark.parametrize("cql_type", [name for name in KEY_VALUES if name != "duration"])
def test_partition_key_of_the_type(table, session, cql_type):
    name = table(f"k {cql_type} PRIMARY KEY, v int")
    insert, select = (session.prepare(text) for text in (
        f"INSERT INTO {name} (k, v) VALUES (?, ?)", f"SELECT v FROM {name} WHERE k = ?"))
    values = [value for value in KEY_VALUES[cql_type] if value not in ("", b"")]
    for number, value in enumerate(values):
        session.execute(insert, (value, number))
    for number, value in enumerate(values):
        assert session.execute(select, (value,)).one().v == number


@pytest.mark.parametrize(("cql_type", "literal"), [
    ("int", "'text'"), ("int", "2147483648"), ("text", "5"), ("boolean", "'true'"), ("uuid", "'not-a-uuid'"),
    ("timeuuid", str(UUID)), ("inet", "'300.1.1.1'"), ("date", "'2024-13-01'"), ("timestamp", "'yesterday'"),
    ("blob", "'abc'"), ("list<int>", "['a']"), ("set<int>", "[1]"), ("map<int, int>", "{1, 2}"), ("tinyint", "200"),
    ("tuple<int, text>", "(1, 'a', 2)"), ("ascii", "'ü'"), ("time", "'25:00:00'")])
def test_literal_of_the_wrong_type_is_refused(table, session, cql_type, literal):
    name = table(f"k int PRIMARY KEY, v {cql_type}")
    with pytest.raises(InvalidRequest):
        session.execute(SimpleStatement(f"INSERT INTO {name} (k, v) VALUES (1, {literal})"))


def test_bound_value_of_the_wrong_width_is_refused(table, session):
    name = table("k int PRIMARY KEY, v bigint")
    session.execute(f"INSERT INTO {name} (k, v) VALUES (1, 1)")
    prepared = session.prepare(f"INSERT INTO {name} (k, v) VALUES (?, ?)").bind((1, 1))
    prepared.values[1] = b"\x00\x01\x02"
    with pytest.raises(InvalidRequest):
        session.execute(prepared)


def test_invalid_utf8_is_refused(table, session):
    name = table("k int PRIMARY KEY, v text")
    prepared = session.prepare(f"INSERT INTO {name} (k, v) VALUES (?, ?)").bind((1, "a"))
    prepared.values[1] = b"\xff\xfe"
    with pytest.raises(InvalidRequest):
        session.execute(prepared)


def test_collections_are_changed_in_part(table, session, rows):
    name = table("k int PRIMARY KEY, l list<int>, s set<int>, m map<text, int>")
    session.execute(f"INSERT INTO {name} (k, l, s, m) VALUES (1, [1], {{1}}, {{'a': 1}})")
    session.execute(f"UPDATE {name} SET l = l + [2, 3], s = s + {{2, 3}}, m = m + {{'b': 2, 'c': 3}} WHERE k = 1")
    session.execute(f"UPDATE {name} SET l = [0] + l, s = s - {{1}}, m = m - {{'a'}} WHERE k = 1")
    [(numbers, members, pairs)] = rows(f"SELECT l, s, m FROM {name}")
    assert (numbers, plain(members), plain(pairs)) == ([0, 1, 2, 3], {2, 3}, {"b": 2, "c": 3})
    session.execute(f"UPDATE {name} SET l = l - [1, 3], m['d'] = 4, m['b'] = null WHERE k = 1")
    session.execute(f"DELETE m['c'], s[3] FROM {name} WHERE k = 1")
    [(numbers, members, pairs)] = rows(f"SELECT l, s, m FROM {name}")
    assert (numbers, plain(members), plain(pairs)) == ([0, 2], {2}, {"d": 4})


def test_empty_collection_is_null(table, session, rows):
    name = table("k int PRIMARY KEY, l list<int>, f frozen<list<int>>")
    session.execute(f"INSERT INTO {name} (k, l, f) VALUES (1, [], [])")
    assert rows(f"SELECT l, f FROM {name}") == [(None, [])]


def test_writing_a_collection_replaces_it(table, session, rows):
    name = table("k int PRIMARY KEY, s set<int>")
    session.execute(f"INSERT INTO {name} (k, s) VALUES (1, {{1, 2, 3}})")
    session.execute(f"INSERT INTO {name} (k, s) VALUES (1, {{9}})")
    assert [plain(value) for (value,) in rows(f"SELECT s FROM {name}")] == [{9}]


def test_user_defined_type(session, keyspace, rows):
    session.execute("CREATE TYPE IF NOT EXISTS address (street text, number int, tags frozen<set<text>>)")
    session.execute("CREATE TABLE udt_table (k int PRIMARY KEY, f frozen<address>, m map<text, frozen<address>>, a address)")
    session.execute("INSERT INTO udt_table (k, f, m, a) VALUES (1, {street: 'x', number: 5, tags: {'t'}}, "
                    "{'h': {street: 'y'}}, {street: 'z', number: 1})")
    session.execute("UPDATE udt_table SET a.number = 2 WHERE k = 1")
    [(street, number)] = rows("SELECT f.street, a.number FROM udt_table")
    assert (street, number) == ("x", 2)
    [row] = session.execute("SELECT f, m, a FROM udt_table")
    assert (row.f.street, row.f.number, set(row.f.tags)) == ("x", 5, {"t"})
    assert row.m["h"].street == "y" and row.m["h"].number is None
    assert (row.a.street, row.a.number) == ("z", 2)
    session.execute("DROP TABLE udt_table")
    session.execute("DROP TYPE address")


def test_counters(table, session, rows):
    name = table("k int PRIMARY KEY, n counter")
    for step in ("+ 5", "- 2", "+ 10"):
        session.execute(f"UPDATE {name} SET n = n {step} WHERE k = 1")
    assert rows(f"SELECT n FROM {name}") == [(13,)]
    with pytest.raises(InvalidRequest):
        session.execute(f"INSERT INTO {name} (k, n) VALUES (1, 1)")


def test_large_value(table, session):
    name = table("k int PRIMARY KEY, v blob")
    value = bytes(range(256)) * 8192
    insert = session.prepare(f"INSERT INTO {name} (k, v) VALUES (?, ?)")
    session.execute(insert, (1, value))
    assert session.execute(f"SELECT v FROM {name}").one().v == value


def test_functions_on_values(table, session, rows):
    name = table("k int PRIMARY KEY, t timeuuid, v bigint")
    session.execute(f"INSERT INTO {name} (k, t, v) VALUES (1, {TIMEUUID}, 258)")
    assert rows(f"SELECT bigintAsBlob(v), CAST(v AS text) FROM {name}") == [(b"\x00" * 6 + b"\x01\x02", "258")]
    [(when, millis)] = rows(f"SELECT toTimestamp(t), toUnixTimestamp(t) FROM {name}")
    assert isinstance(when, datetime.datetime) and isinstance(millis, int)
    session.execute(f"INSERT INTO {name} (k, t, v) VALUES (2, now(), blobAsBigint(0x0000000000000007))")
    assert rows(f"SELECT v FROM {name} WHERE k = 2") == [(7,)]
