"""Connecting: versions, compression, what drivers read at start, events, and frames that are no requests."""

import os
import socket
import struct
import threading
import uuid

import pytest
from cassandra import ConsistencyLevel, ProtocolVersion
from cassandra.cluster import Cluster
from cassandra.concurrent import execute_concurrent, execute_concurrent_with_args
from cassandra.query import SimpleStatement

OPTIONS, STARTUP, ERROR, READY, SUPPORTED, QUERY, AUTH_RESPONSE = 0x05, 0x01, 0x00, 0x02, 0x06, 0x07, 0x0F
PROTOCOL_ERROR = 0x000A
TARGET = os.environ.get("HOLON_CONFORMANCE_TARGET")


def exchange(target, *frames, limit_s=10):
    """Sends raw frames (version, opcode, body) of v3/v4 and returns the answers as (version, opcode, body)."""
    answers = []
    with socket.create_connection(target, timeout=limit_s) as connection:
        for version, opcode, body in frames:
            connection.sendall(struct.pack(">BBhBi", version, 0, 0, opcode, len(body)) + body)
            header = receive(connection, 9)
            if header is None:
                break
            answer_version, _, _, answer_opcode, length = struct.unpack(">BBhBi", header)
            answers.append((answer_version & 0x7F, answer_opcode, receive(connection, length)))
    return answers


def receive(connection, count):
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            return None
        data += more
    return data


def error_of(body):
    code, length = struct.unpack(">iH", body[:6])
    return code, body[6:6 + length].decode()


def test_default_connection_speaks_the_newest_version(connect):
    cluster = connect()
    session = cluster.connect()
    assert cluster.protocol_version == ProtocolVersion.V5
    assert session.execute("SELECT key FROM system.local").one().key == "local"


# v5 has no Snappy.
COMBINATIONS = [(version, compression) for version in (3, 4, 5) for compression in (False, True, "lz4", "snappy")
                if (version, compression) != (5, "snappy")]


@pytest.mark.parametrize(("version", "compression"), COMBINATIONS)
def test_versions_and_compressions(connect, version, compression):
    session = connect(protocol_version=version, compression=compression).connect()
    large = "x" * 200_000
    got = session.execute("SELECT release_version FROM system.local").one()
    assert int(got.release_version.split(".")[0]) >= 4
    session.execute("CREATE KEYSPACE IF NOT EXISTS versions WITH replication = "
                    "{'class': 'SimpleStrategy', 'replication_factor': 1}")
    session.execute("CREATE TABLE IF NOT EXISTS versions.large (k int PRIMARY KEY, v text)")
    session.execute("INSERT INTO versions.large (k, v) VALUES (%s, %s)", (int(version), large))
    assert session.execute("SELECT v FROM versions.large WHERE k = %s", (int(version),)).one().v == large


def test_unknown_version_is_refused_with_the_words_that_drivers_match(target):
    [(version, opcode, body)] = exchange(target, (0x42, OPTIONS, b""))
    code, message = error_of(body)
    assert opcode == ERROR
    assert code == PROTOCOL_ERROR
    expected = "Invalid or unsupported protocol version (66); the lowest supported version is 3 and the greatest is 5"
    if TARGET:  # Cassandra 5 words the second half differently; drivers match the first
        expected = expected.split(";")[0]
    assert message.startswith(expected)
    assert version <= 5


def test_driver_falls_back_from_a_beta_version(connect):
    cluster = connect(protocol_version=ProtocolVersion.V6, allow_beta_protocol_version=False)
    with pytest.raises(Exception):  # the driver refuses or the server does; neither hangs
        cluster.connect()


def test_supported_lists_version_and_compressions(target):
    [(_, opcode, body)] = exchange(target, (4, OPTIONS, b""))
    assert opcode == SUPPORTED
    for word in (b"CQL_VERSION", b"COMPRESSION", b"lz4", b"snappy", b"3.4."):
        assert word in body


def test_request_before_startup_is_refused(target):
    query = b"SELECT key FROM system.local"
    body = struct.pack(">i", len(query)) + query + struct.pack(">hB", 1, 0)
    [(_, opcode, answer)] = exchange(target, (4, QUERY, body))
    assert opcode == ERROR
    assert error_of(answer)[0] == PROTOCOL_ERROR


def test_startup_without_a_version_is_refused(target):
    [(_, opcode, answer)] = exchange(target, (4, STARTUP, struct.pack(">H", 0)))
    assert opcode == ERROR
    assert error_of(answer)[0] == PROTOCOL_ERROR


def test_unknown_opcode_is_refused(target):
    options = b"\x00\x01\x00\x0bCQL_VERSION\x00\x053.0.0"
    answers = exchange(target, (4, STARTUP, options), (4, 0x7A, b""))
    assert answers[0][1] == READY
    assert answers[1][1] == ERROR
    assert error_of(answers[1][2])[0] == PROTOCOL_ERROR


@pytest.mark.skipif(bool(TARGET), reason="Cassandra waits for the body; we refuse by the header")
def test_oversized_frame_is_refused_before_it_is_read(target):
    with socket.create_connection(target, timeout=10) as connection:
        connection.sendall(struct.pack(">BBhBi", 4, 0, 0, STARTUP, 0x7FFFFFFF))
        answer = b""
        try:
            while more := connection.recv(4096):
                answer += more
                if len(answer) >= 9:
                    break
        except ConnectionResetError:
            return
        assert answer == b"" or answer[4] == ERROR


def test_local_names_the_node(connect, target):
    session = connect().connect()
    row = session.execute("SELECT * FROM system.local WHERE key = 'local'").one()
    assert row.bootstrapped == "COMPLETED"
    assert row.partitioner == "org.apache.cassandra.dht.Murmur3Partitioner"
    assert row.data_center and row.rack and row.cluster_name
    assert isinstance(row.host_id, uuid.UUID) and isinstance(row.schema_version, uuid.UUID)
    assert row.rpc_address == target[0]
    assert row.tokens and all(-(2**63) <= int(token) < 2**63 for token in row.tokens)
    assert list(session.execute("SELECT * FROM system.peers")) == []


def test_metadata_of_the_cluster(connect, target):
    cluster = connect()
    cluster.connect()
    [host] = cluster.metadata.all_hosts()
    assert host.is_up and host.endpoint.address == target[0]
    assert cluster.metadata.partitioner == "org.apache.cassandra.dht.Murmur3Partitioner"
    assert cluster.metadata.token_map is not None
    assert {"system", "system_schema"} <= set(cluster.metadata.keyspaces)
    assert "local" in cluster.metadata.keyspaces["system"].tables


@pytest.mark.parametrize("name", [
    "system.local", "system.peers", "system.peers_v2", "system.prepared_statements", "system.size_estimates",
    "system_schema.keyspaces", "system_schema.tables", "system_schema.columns", "system_schema.types",
    "system_schema.functions", "system_schema.aggregates", "system_schema.indexes", "system_schema.views",
    "system_schema.triggers", "system_schema.dropped_columns", "system_virtual_schema.keyspaces",
    "system_virtual_schema.tables", "system_virtual_schema.columns", "system_traces.sessions", "system_traces.events",
    "system_auth.roles"])
def test_system_table_can_be_read(connect, name):
    session = connect().connect()
    if name != "system_schema.dropped_columns":  # Cassandra's own has times that the driver cannot show
        list(session.execute(f"SELECT * FROM {name} LIMIT 5"))
    list(session.execute(f"SELECT count(*) FROM {name}"))


def test_system_tables_describe_themselves(connect):
    session = connect().connect()
    rows = session.execute("SELECT column_name, kind, type FROM system_schema.columns "
                           "WHERE keyspace_name = 'system' AND table_name = 'local'")
    columns = {row.column_name: (row.kind, row.type) for row in rows}
    assert columns["key"] == ("partition_key", "text")
    assert columns["tokens"] == ("regular", "set<text>")
    assert columns["host_id"] == ("regular", "uuid")


def test_many_requests_at_once_are_answered_out_of_order(session, table):
    name = table("k int PRIMARY KEY, v text")
    insert = session.prepare(f"INSERT INTO {name} (k, v) VALUES (?, ?)")
    results = execute_concurrent_with_args(session, insert, [(key, f"v{key}") for key in range(2000)], concurrency=200)
    assert all(success for success, _ in results)
    select = session.prepare(f"SELECT v FROM {name} WHERE k = ?")
    results = execute_concurrent(session, [(select, (key,)) for key in range(2000)], concurrency=200)
    assert [result.one().v for _, result in results] == [f"v{key}" for key in range(2000)]


def test_every_connection_sees_the_clients_of_all(connect):
    """Whichever core a connection lies on: all are told of."""
    others = [connect().connect() for _ in range(3)]
    mine = {other.cluster.control_connection._connection._socket.getsockname()[1] for other in others}
    for other in others:
        seen = {row.port for row in other.execute("SELECT address, port FROM system_views.clients")}
        assert seen.issuperset(mine)


def test_schema_change_events_reach_other_connections(connect, session, keyspace):
    watcher = connect()
    watcher.connect()
    seen = threading.Event()

    def on_event(event):
        if event.get("table") == "event_table" and event["change_type"] == "CREATED":
            seen.set()

    watcher.control_connection._connection.register_watcher("SCHEMA_CHANGE", on_event)
    session.execute("CREATE TABLE event_table (k int PRIMARY KEY)")
    assert seen.wait(10), "no SCHEMA_CHANGE event within 10 s"
    deadline = threading.Event()
    for _ in range(100):
        if "event_table" in watcher.metadata.keyspaces[keyspace].tables:
            break
        deadline.wait(0.1)
    assert "event_table" in watcher.metadata.keyspaces[keyspace].tables
    session.execute("DROP TABLE event_table")


@pytest.mark.parametrize("level", ["ONE", "LOCAL_ONE", "QUORUM", "LOCAL_QUORUM", "ALL", "EACH_QUORUM", "ANY"])
def test_consistency_levels(session, table, level):
    name = table("k int PRIMARY KEY")
    consistency = getattr(ConsistencyLevel, level)
    session.execute(SimpleStatement(f"INSERT INTO {name} (k) VALUES (1)", consistency_level=consistency))
    if level not in ("ANY", "EACH_QUORUM"):
        select = SimpleStatement(f"SELECT k FROM {name}", consistency_level=consistency)
        assert session.execute(select).one().k == 1


def test_use_keyspace_is_kept_by_the_connection(connect, keyspace, session, table):
    name = table("k int PRIMARY KEY")
    other = connect().connect()
    other.execute(f"USE {keyspace}")
    assert list(other.execute(f"SELECT * FROM {name}")) == []
    other.set_keyspace("system")
    assert other.execute("SELECT key FROM local").one().key == "local"


def test_reconnecting_a_hundred_times_leaves_nothing_behind(target):
    for _ in range(100):
        [(_, opcode, _)] = exchange(target, (4, OPTIONS, b""))
        assert opcode == SUPPORTED


def test_cluster_of_an_older_driver_default(target):
    cluster = Cluster([target[0]], port=target[1], protocol_version=4, schema_metadata_enabled=False,
                      token_metadata_enabled=False)
    try:
        assert cluster.connect().execute("SELECT now() FROM system.local").one()
    finally:
        cluster.shutdown()
