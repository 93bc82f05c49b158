"""Fixtures of the Kafka suite: one node for the run, a topic of its own for each test.

`HOLON_CONFORMANCE_TARGET=host:port` runs the suite against another broker, Apache Kafka itself say; tests that kill the node are
skipped then.
"""

import os
import pathlib
import sys
import uuid

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import holon_node  # noqa: E402

TARGET = os.environ.get("HOLON_CONFORMANCE_TARGET")


@pytest.fixture(scope="session")
def node():
    """The node under test; None when another broker is."""
    if TARGET:
        yield None
        return
    with holon_node.Node() as node:
        yield node
        assert node.running(), f"the node ended during the suite; it said:\n{node.said()[-4000:]}"


@pytest.fixture(scope="session")
def bootstrap(node):
    return TARGET or f"{node.address}:{holon_node.KAFKA_PORT}"


@pytest.fixture
def own_node():
    """A node that the test may kill."""
    if TARGET:
        pytest.skip("another broker is not killed")
    with holon_node.Node() as node:
        yield node


@pytest.fixture
def topic():
    """A name that nobody has."""
    return f"t-{uuid.uuid4().hex[:12]}"
