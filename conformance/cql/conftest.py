"""Fixtures of the CQL suite: one node for the run, one keyspace for a module, tables made for a test.

`HOLON_CONFORMANCE_TARGET=host:port` runs the suite against another server, Cassandra itself say; then the list of
allowed failures does not count, because the suite must hold there as it stands.
"""

import os
import pathlib
import re
import sys

import pytest
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.query import tuple_factory

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import holon_node  # noqa: E402

TARGET = os.environ.get("HOLON_CONFORMANCE_TARGET")
REQUEST_LIMIT_S = 20


def pytest_collection_modifyitems(items):
    """A test named in allowed_failures.txt must fail; one that passes has to leave the list."""
    if TARGET:
        return
    allowed = {}
    for line in (HERE / "allowed_failures.txt").read_text(encoding="utf-8").splitlines():
        name, _, reason = line.partition("#")
        if name.strip():
            allowed[name.strip()] = reason.strip()
    for item in items:
        name = f"{pathlib.Path(str(item.fspath)).name}::{item.name}"
        if name in allowed:
            item.add_marker(pytest.mark.xfail(strict=True, reason=allowed.pop(name)))
    if allowed and len(items) > 100:
        raise pytest.UsageError(f"allowed_failures.txt names tests that do not exist: {sorted(allowed)}")


@pytest.fixture(scope="session")
def target():
    """Address and port of the server under test."""
    if TARGET:
        host, _, port = TARGET.partition(":")
        yield host, int(port or holon_node.CQL_PORT)
        return
    with holon_node.Node() as node:
        yield node.address, holon_node.CQL_PORT
        assert node.running(), f"the node ended during the suite; it said:\n{node.said()[-4000:]}"


@pytest.fixture(scope="session")
def connect(target):
    """Makes a Cluster; keyword arguments go to it."""
    made = []

    def make(**arguments):
        profile = arguments.pop("profile", None) or ExecutionProfile(request_timeout=REQUEST_LIMIT_S)
        arguments.setdefault("connect_timeout", REQUEST_LIMIT_S)
        arguments.setdefault("control_connection_timeout", REQUEST_LIMIT_S)
        cluster = Cluster([target[0]], port=target[1], execution_profiles={EXEC_PROFILE_DEFAULT: profile}, **arguments)
        made.append(cluster)
        return cluster

    yield make
    for cluster in made:
        cluster.shutdown()


@pytest.fixture(scope="module")
def cluster(connect):
    return connect()


@pytest.fixture(scope="module")
def keyspace(request, cluster):
    """A keyspace for the module, dropped at its end."""
    name = re.sub(r"\W", "_", request.module.__name__).lower()
    admin = cluster.connect()
    admin.execute(f"DROP KEYSPACE IF EXISTS {name}")
    admin.execute(
        f"CREATE KEYSPACE {name} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}")
    yield name
    admin.execute(f"DROP KEYSPACE IF EXISTS {name}")
    admin.shutdown()


@pytest.fixture(scope="module")
def session(cluster, keyspace):
    """A session in the module's keyspace; rows are named tuples."""
    made = cluster.connect(keyspace)
    yield made
    made.shutdown()


@pytest.fixture(scope="module")
def tuples(connect, keyspace):
    """A session whose rows are plain tuples."""
    profile = ExecutionProfile(request_timeout=REQUEST_LIMIT_S, row_factory=tuple_factory)
    made = connect(profile=profile).connect(keyspace)
    yield made
    made.shutdown()


@pytest.fixture
def table(request, session):
    """Makes a table named after the test, given what stands between the parentheses and after them."""
    made = []

    def make(columns, options="", suffix=""):
        stem = re.sub(r"\W+", "_", request.node.name).strip("_").lower()[:40]
        name = f"{stem}{suffix}"
        session.execute(f"DROP TABLE IF EXISTS {name}")
        session.execute(f"CREATE TABLE {name} ({columns}) {options}")
        made.append(name)
        return name

    yield make
    for name in made:
        session.execute(f"DROP TABLE IF EXISTS {name}")


@pytest.fixture
def rows(tuples):
    """Runs a statement and gives its rows as a list of plain tuples."""

    def run(statement, parameters=None, **arguments):
        return [tuple(row) for row in tuples.execute(statement, parameters, **arguments)]

    return run
