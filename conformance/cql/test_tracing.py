"""Traced requests: the driver and cqlsh get the trace of what they asked for."""

import datetime

import pytest
from cassandra import ConsistencyLevel, InvalidRequest
from cassandra.query import BatchStatement, SimpleStatement


def traced(session, statement, parameters=None):
    result = session.execute(statement, parameters, trace=True)
    return result, result.get_query_trace(max_wait_sec=10)


def test_a_read_is_traced(table, session, target):
    name = table("p int PRIMARY KEY, v text")
    session.execute(f"INSERT INTO {name} (p, v) VALUES (1, 'one')")
    before = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    statement = SimpleStatement(f"SELECT v FROM {name} WHERE p = 1", consistency_level=ConsistencyLevel.ONE)
    result, trace = traced(session, statement)
    assert result.one().v == "one"
    assert trace.request_type == "Execute CQL3 query"
    assert trace.parameters["query"] == statement.query_string and trace.parameters["consistency_level"] == "ONE"
    assert trace.coordinator == target[0] and trace.client
    assert datetime.timedelta(0) < trace.duration < datetime.timedelta(seconds=10)
    assert abs(trace.started_at - before) < datetime.timedelta(seconds=10)
    assert trace.events and all(event.description and event.thread_name for event in trace.events)
    elapsed = [event.source_elapsed for event in trace.events]
    assert max(elapsed) <= trace.duration and any("Parsing" in event.description for event in trace.events)


def test_every_kind_of_request_is_traced(table, session):
    name = table("p int, c int, v int, PRIMARY KEY (p, c)")
    insert = session.prepare(f"INSERT INTO {name} (p, c, v) VALUES (?, ?, ?)")
    _, trace = traced(session, insert, (7, 8, None))
    assert trace.request_type == "Execute CQL3 prepared query"
    assert trace.parameters["bound_var_0_p"] == "7" and trace.parameters["bound_var_2_v"] == "null"
    batch = BatchStatement()
    batch.add(insert, (1, 1, 1))
    batch.add(insert, (2, 1, 1))
    _, trace = traced(session, batch)
    assert trace.request_type == "Execute batch of CQL3 queries" and trace.events
    _, trace = traced(session, f"INSERT INTO {name} (p, c) VALUES (7, 8) IF NOT EXISTS")
    assert trace.events
    _, trace = traced(session, f"SELECT * FROM {name}")
    assert trace.events


def test_an_untraced_request_has_no_trace(session):
    assert session.execute("SELECT key FROM system.local").get_query_trace() is None


def test_a_request_that_fails_keeps_its_error(session):
    with pytest.raises(InvalidRequest):
        session.execute("SELECT nothing FROM system.local", trace=True)
