"""Nodes whose wall clocks are wrong, as real processes: a small library is preloaded that puts their clocks off (wall_clock.c, compiled
with `cc`). Their statements carry no timestamp of the client's, unless a test says so.

Each session talks to one node and retries nothing, so what it reports is what that node answered.
"""

import json
import mmap
import pathlib
import struct
import subprocess
import time
import urllib.request

import pytest
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import RetryPolicy, RoundRobinPolicy
from cassandra.protocol import IsBootstrappingErrorMessage
from clusters import ONE, SMALL, Three, command, eventually, run, status, table

HOUR_S = 3600


class WallClock:
    """How far a node's wall clock is off."""

    def __init__(self, library, file):
        self.environment = {"LD_PRELOAD": str(library), "TEST_CLOCK_FILE": str(file)}
        file.write_bytes(bytes(8))
        with open(file, "r+b") as opened:
            self.mapped = mmap.mmap(opened.fileno(), 8)

    def put_off(self, seconds):
        self.mapped[:] = struct.pack("<q", int(seconds * 1_000_000))


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    built = tmp_path_factory.mktemp("clock") / "wall_clock.so"
    source = pathlib.Path(__file__).with_name("wall_clock.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(built), str(source), "-ldl"], check=True)
    return built


@pytest.fixture
def node_with_clock(make_node, library, tmp_path):
    """Makes nodes whose wall clocks can be put off, as their `wall_clock`."""
    count = 0

    def make(**arguments):
        nonlocal count
        count += 1
        clock = WallClock(library, tmp_path / f"clock{count}")
        node = make_node(environment=clock.environment, **arguments)
        node.wall_clock = clock
        return node

    return make


def server_stamps(session):
    session.use_client_timestamp = False
    return session


def console(node, path):
    with urllib.request.urlopen(f"http://{node.address}:7070{path}", timeout=10) as answer:
        return answer.read().decode()


def takes_writes(node):
    return json.loads(console(node, "/status.json"))["clock"]["takes_writes"]


def gauge(node, name):
    return float(next(line.split()[1] for line in console(node, "/metrics").splitlines() if line.startswith(f"{name} ")))


def value(session, key=1):
    return run(session, f"SELECT v FROM k.t WHERE k = {key}").one().v


@pytest.fixture
def three(node_with_clock):
    made = Three(node_with_clock)
    yield made.form()
    made.close()


def write_served(session, text):
    """A write that is served once the node has looked at the other clocks again."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return run(session, text)
        except IsBootstrappingErrorMessage:
            assert time.monotonic() < deadline, "never served within 10 s"
            time.sleep(0.05)


@pytest.mark.parametrize("off_s", [HOUR_S, -HOUR_S, 5])
def test_the_one_of_three_whose_clock_is_wrong_takes_no_writes_until_it_is_right(three, off_s):
    table(three)
    first, second, third = [server_stamps(three.session(node)) for node in three.nodes]
    wrong = three.nodes[2]
    run(third, "INSERT INTO k.t (k, v) VALUES (1, 1)")
    wrong.wall_clock.put_off(off_s)
    # From the first moment on: nothing is stamped by a clock that has just jumped.
    for text in ["INSERT INTO k.t (k, v) VALUES (1, 2)", "INSERT INTO k.t (k, v) VALUES (1, 2) USING TIMESTAMP 5",
                 "DELETE FROM k.t WHERE k = 1", "UPDATE k.t SET v = 2 WHERE k = 1 IF v = 1",
                 "BEGIN BATCH INSERT INTO k.t (k, v) VALUES (1, 2); INSERT INTO k.t (k, v) VALUES (2, 2); APPLY BATCH"]:
        with pytest.raises(IsBootstrappingErrorMessage) as refused:
            run(third, text)
        assert "it takes no writes until its clock is right" in str(refused.value), refused.value
    assert value(third) == 1, "reads go on"
    # People see it at once, and the others are well.
    assert "TAKES NO WRITES" in status(wrong) and ("ahead of" if off_s > 0 else "behind") in status(wrong)
    assert [takes_writes(node) for node in three.nodes] == [True, True, False]
    assert [gauge(node, "holon_clock_takes_writes") for node in three.nodes] == [1, 1, 0]
    assert gauge(wrong, "holon_clock_ahead_seconds") == pytest.approx(off_s, abs=1)
    for number, session in enumerate([first, second, first]):
        run(session, f"INSERT INTO k.t (k, v) VALUES (1, {10 + number})")
        assert value(third) == 10 + number
        write_served(session, f"UPDATE k.t SET v = {20 + number} WHERE k = 1 IF v = {10 + number}")
        assert value(third) == 20 + number
    assert "takes no writes" in wrong.said()
    wrong.wall_clock.put_off(0)
    write_served(third, "INSERT INTO k.t (k, v) VALUES (1, 30)")
    assert [value(session) for session in (first, second, third)] == [30, 30, 30]
    run(first, "INSERT INTO k.t (k, v) VALUES (1, 31)")
    assert value(third) == 31, "nothing is left that was stamped by the wrong clock"
    eventually("it says so", lambda: takes_writes(wrong) and "TAKES NO WRITES" not in status(wrong))


def test_a_stock_driver_goes_to_the_next_host(three):
    table(three)
    three.nodes[1].wall_clock.put_off(HOUR_S)
    profile = ExecutionProfile(load_balancing_policy=RoundRobinPolicy(), retry_policy=RetryPolicy(), request_timeout=20)
    driver = Cluster([node.address for node in three.nodes], execution_profiles={EXEC_PROFILE_DEFAULT: profile})
    three.clusters.append(driver)
    session = server_stamps(driver.connect())
    for key in range(60):
        run(session, f"INSERT INTO k.t (k, v) VALUES ({key}, {key})")
    assert run(session, "SELECT count(*) FROM k.t").one().count == 60
    assert not takes_writes(three.nodes[1])


def test_a_restart_with_a_clock_that_went_back_a_little_is_not_noticed(node_with_clock):
    three = Three(node_with_clock)
    node = three.add()
    session = server_stamps(table(three, factor=1))
    for number in range(3):
        run(session, f"INSERT INTO k.t (k, v) VALUES (1, {number})", ONE)
        node.kill()
        node.wall_clock.put_off(-0.3 * (number + 1))
        node.start()
        session = server_stamps(three.reconnect(node))
        run(session, f"INSERT INTO k.t (k, v) VALUES (1, {number + 100})", ONE)
        assert value(session) == number + 100
    three.close()


def test_a_clock_that_was_ahead_has_a_way_back(node_with_clock):
    three = Three(node_with_clock)
    node = node_with_clock(arguments=list(SMALL))
    three.nodes.append(node)
    node.wall_clock.put_off(HOUR_S)  # nobody can know: it is alone
    node.start()
    session = server_stamps(table(three, factor=1))
    run(session, "INSERT INTO k.t (k, v) VALUES (1, 1)", ONE)
    for restarted in (False, True):
        if restarted:
            node.kill()
        node.wall_clock.put_off(0)
        if restarted:
            node.start()
            session = server_stamps(three.reconnect(node))
        with pytest.raises(IsBootstrappingErrorMessage) as refused:
            run(session, "INSERT INTO k.t (k, v) VALUES (1, 2)", ONE)
        assert "behind timestamps that it has given" in str(refused.value), refused.value
        assert value(session) == 1
    code, text = command(node, "cluster", "clock", "begin-anew")
    assert code == 0, text
    run(session, "INSERT INTO k.t (k, v) VALUES (2, 2)", ONE)
    assert value(session, 2) == 2
    # What the wrong clock has stamped wins until its time comes; a timestamp of one's own is the way over it.
    run(session, "INSERT INTO k.t (k, v) VALUES (1, 2)", ONE)
    assert value(session) == 1
    later = run(session, "SELECT writetime(v) AS w FROM k.t WHERE k = 1", ONE).one().w + 1
    run(session, f"UPDATE k.t USING TIMESTAMP {later} SET v = 3 WHERE k = 1", ONE)
    assert value(session) == 3
    three.close()
