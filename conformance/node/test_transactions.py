"""Conditional statements and counters on tables with three replicas, through all nodes at once, on real processes.

Each node decides for some partitions and asks others for the rest; nobody here may notice which. The driver retries
nothing, so what it reports is what the nodes answered.
"""

import collections
import threading
import time

import pytest
from cassandra import ConsistencyLevel, Unavailable, WriteTimeout
from cassandra.query import SimpleStatement
from clusters import ALL, ONE, QUORUM, eventually, run, table, up

SERIAL = ConsistencyLevel.SERIAL


def conditional(session, text, commit=QUORUM, serial=SERIAL):
    return session.execute(SimpleStatement(text, consistency_level=commit, serial_consistency_level=serial))


def value(session, key):
    row = run(session, f"SELECT v FROM k.t WHERE k = {key}", SERIAL).one()
    return None if row is None else row.v


def all_sessions(three):
    return [three.session(node) for node in three.nodes]


def together(works):
    """Runs functions side by side; what they return."""
    results, errors = [None] * len(works), []

    def one(at, work):
        try:
            results[at] = work()
        except Exception as error:  # noqa: BLE001: shown below
            errors.append(error)

    threads = [threading.Thread(target=one, args=pair) for pair in enumerate(works)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not errors, errors
    return results


def test_one_of_all_who_try_wins(cluster):
    three = cluster().form()
    table(three)
    sessions = all_sessions(three)
    for key in range(10):
        inserts = [lambda session=session, at=at: conditional(session, f"INSERT INTO k.t (k, v) VALUES ({key}, {at}) IF NOT EXISTS").one()
                   for at, session in enumerate(sessions)]
        answers = together(inserts)
        assert [answer.applied for answer in answers].count(True) == 1, answers
        winner = next(at for at, answer in enumerate(answers) if answer.applied)
        # Those who lost were shown who won, and everybody reads the same.
        assert all(answer.applied or answer.v == winner for answer in answers), answers
        assert [value(session, key) for session in sessions] == [winner] * 3
        assert [run(session, f"SELECT v FROM k.t WHERE k = {key}", QUORUM).one().v for session in sessions] == [winner] * 3


def test_increments_by_comparison_are_not_lost(cluster):
    three = cluster().form()
    session = table(three)
    run(session, "INSERT INTO k.t (k, v) VALUES (1, 0)")

    def work(session):
        done = 0
        while done < 20:
            seen = value(session, 1)
            if conditional(session, f"UPDATE k.t SET v = {seen + 1} WHERE k = 1 IF v = {seen}").one().applied:
                done += 1
        return done

    assert sum(together([lambda session=session: work(session) for session in all_sessions(three) * 2])) == 120
    assert value(session, 1) == 120


def test_counters_lists_and_batches_with_conditions(cluster):
    three = cluster().form()
    session = table(three)
    run(session, "CREATE TABLE k.n (k int PRIMARY KEY, c counter)")
    run(session, "CREATE TABLE k.l (k int, c int, v list<int>, s int static, PRIMARY KEY (k, c))")

    def count(session):
        for number in range(60):
            run(session, f"UPDATE k.n SET c = c + 1 WHERE k = {number % 3}")

    together([lambda session=session: count(session) for session in all_sessions(three)])
    assert sorted((row.k, row.c) for row in run(session, "SELECT k, c FROM k.n")) == [(0, 60), (1, 60), (2, 60)]
    run(session, "INSERT INTO k.l (k, c, v) VALUES (1, 1, [1, 2, 3])")
    run(three.session(three.nodes[1]), "UPDATE k.l SET v[1] = 20 WHERE k = 1 AND c = 1")
    run(three.session(three.nodes[2]), "DELETE v[0] FROM k.l WHERE k = 1 AND c = 1")
    assert run(session, "SELECT v FROM k.l WHERE k = 1 AND c = 1").one().v == [20, 3]
    batch = """BEGIN BATCH
      UPDATE k.l SET s = 1 WHERE k = 2 IF s = null;
      INSERT INTO k.l (k, c, v) VALUES (2, 1, [1]);
      INSERT INTO k.l (k, c, v) VALUES (2, 2, [2]);
    APPLY BATCH"""
    answers = [conditional(each, batch).one() for each in all_sessions(three)]
    assert [answer.applied for answer in answers] == [True, False, False]
    assert [row.c for row in run(session, "SELECT c FROM k.l WHERE k = 2")] == [1, 2]


def test_the_loss_of_a_node_loses_no_decision(cluster):
    """kill -9 of one of three while compare-and-set runs through the other two; then it comes back."""
    three = cluster().form()
    session = table(three)
    keys = range(12)
    for key in keys:
        # Who is asked first leads: all decisions are made by the node that is about to die.
        conditional(three.session(three.nodes[2]), f"INSERT INTO k.t (k, v) VALUES ({key}, 0) IF NOT EXISTS")
    stop, outcomes, stalls = threading.Event(), collections.Counter(), []
    applied, unknown = collections.Counter(), collections.Counter()

    def work(session, offset):
        number = offset
        while not stop.is_set():
            number += 1
            key = number % len(keys)
            began = time.monotonic()
            try:
                seen = value(session, key)
                answer = conditional(session, f"UPDATE k.t SET v = {seen + 1} WHERE k = {key} IF v = {seen}").one()
                outcomes["applied" if answer.applied else "refused"] += 1
                applied[key] += answer.applied
            except WriteTimeout:
                outcomes["unknown"] += 1
                unknown[key] += 1
            except Unavailable:
                outcomes["no leader"] += 1
            stalls.append(time.monotonic() - began)

    work_at = [(three.session(node), at * 5) for at, node in enumerate(three.nodes[:2])]
    threads = [threading.Thread(target=work, args=at, daemon=True) for at in work_at]
    [thread.start() for thread in threads]
    eventually("some are decided", lambda: outcomes["applied"] > 50)
    three.nodes[2].kill()
    before = outcomes["applied"]
    # After an election; how long that takes, the machine says.
    eventually("the others decide", lambda: outcomes["applied"] > before + 100)
    time.sleep(5)
    three.nodes[2].start()
    time.sleep(3)
    stop.set()
    [thread.join() for thread in threads]
    print(f"\n  {dict(outcomes)}, longest {max(stalls):.2f} s")
    eventually("the third is back", lambda: up(three.nodes[0]) == 3)
    back = three.reconnect(three.nodes[2])
    for key in keys:
        values = {value(each, key) for each in (session, three.session(three.nodes[1]), back)}
        assert len(values) == 1, (key, values)
        assert applied[key] <= values.pop() <= applied[key] + unknown[key], key


def test_decisions_hold_while_nodes_come_and_go(cluster):
    three = cluster().form()
    session = table(three)
    run(session, "INSERT INTO k.t (k, v) VALUES (1, 0)")
    stop, applied, failed = threading.Event(), [0], []

    def work():
        while not stop.is_set():
            try:
                seen = value(session, 1)
                answer = conditional(session, f"UPDATE k.t SET v = {seen + 1} WHERE k = 1 IF v = {seen}").one()
                assert answer.applied, (seen, answer)
                applied[0] += 1
            except Exception as error:  # noqa: BLE001: each failure counts, whatever its kind
                failed.append(repr(error))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        fourth = three.add()
        eventually("the fourth is in the ring", lambda: up(three.nodes[0]) == 4, 120)
        time.sleep(1)
    finally:
        stop.set()
        thread.join()
    assert not failed, (len(failed), failed[:3])
    assert applied[0] > 10
    assert {value(three.session(node), 1) for node in (*three.nodes, fourth)} == {applied[0]}


@pytest.mark.parametrize("level", [ConsistencyLevel.ALL, ConsistencyLevel.ONE, ConsistencyLevel.LOCAL_QUORUM])
def test_the_level_of_the_commit_is_met(cluster, level):
    three = cluster().form()
    session = table(three)
    assert conditional(session, "INSERT INTO k.t (k, v) VALUES (1, 1) IF NOT EXISTS", level, ConsistencyLevel.LOCAL_SERIAL).one().applied
    if level == ConsistencyLevel.ALL:
        for node in three.nodes:
            assert run(three.session(node), "SELECT v FROM k.t WHERE k = 1", ConsistencyLevel.ONE).one().v == 1
    for node in three.nodes:
        assert value(three.session(node), 1) == 1


def test_without_a_majority_the_serial_level_is_what_cannot_be_met(cluster):
    """Whoever tries again with a lower level is to lower the right one."""
    three = cluster().form()
    table(three)
    for node in three.nodes[1:]:
        node.kill()
    session = three.session(three.nodes[0])
    eventually("the loss is known", lambda: up(three.nodes[0]) == 1)
    for commit in (ALL, QUORUM, ONE):
        with pytest.raises(Unavailable) as refused:
            run(session, "INSERT INTO k.t (k, v) VALUES (1, 1) IF NOT EXISTS", commit)
        seen = (refused.value.consistency, refused.value.required_replicas, refused.value.alive_replicas)
        assert seen == (ConsistencyLevel.SERIAL, 2, 1)


def test_a_data_center_that_is_no_majority_decides_nothing_and_says_so(cluster):
    three = cluster()
    for name in ("near", "far", "far"):
        three.add("--data-center", name)
    eventually("all are in the ring", lambda: up(three.nodes[0]) == 3)
    session = three.session(three.nodes[0])
    run(session, "CREATE KEYSPACE k WITH replication = {'class': 'NetworkTopologyStrategy', 'near': 1, 'far': 2}")
    run(session, "CREATE TABLE k.t (k int PRIMARY KEY, v int)")
    local = SimpleStatement("INSERT INTO k.t (k, v) VALUES (1, 1) IF NOT EXISTS", consistency_level=ConsistencyLevel.LOCAL_QUORUM,
                            serial_consistency_level=ConsistencyLevel.LOCAL_SERIAL)
    assert session.execute(local).one().applied
    for node in three.nodes[1:]:
        node.kill()
    eventually("the loss is known", lambda: up(three.nodes[0]) == 1)
    with pytest.raises(Unavailable) as refused:
        session.execute(local)
    seen = (refused.value.consistency, refused.value.required_replicas, refused.value.alive_replicas)
    assert seen == (ConsistencyLevel.SERIAL, 2, 1)


def test_a_planned_restart_of_each_node_fails_no_request_of_the_others(cluster):
    """Reads, writes and compare-and-set through two nodes while the third is stopped and started; each in its turn."""
    three = cluster().form()
    session = table(three)
    for at, node in enumerate(three.nodes):
        conditional(three.session(node), f"INSERT INTO k.t (k, v) VALUES ({at}, 0) IF NOT EXISTS")
    failed, done = [], collections.Counter()
    for turn, node in enumerate(three.nodes):
        others = [three.session(other) for other in three.nodes if other is not node]
        stop = threading.Event()

        def work(session, key):
            while not stop.is_set():
                try:
                    run(session, f"INSERT INTO k.t (k, v) VALUES ({key + 100}, 1)")
                    seen = value(session, key)
                    if conditional(session, f"UPDATE k.t SET v = {seen + 1} WHERE k = {key} IF v = {seen}").one().applied:
                        done[key] += 1
                except Exception as error:  # noqa: BLE001: each failure counts, whatever its kind
                    failed.append((turn, repr(error)))

        threads = [threading.Thread(target=work, args=(others[key % 2], key)) for key in range(3)]
        [thread.start() for thread in threads]
        time.sleep(1)
        assert node.terminate() == 0
        time.sleep(1)
        node.start()
        eventually("it is back", lambda: all(up(each) == 3 for each in three.nodes))
        time.sleep(1)
        stop.set()
        [thread.join() for thread in threads]
        three.reconnect(node)
    print(f"\n  {dict(done)} applied, failed: {failed}")
    assert not failed, (len(failed), failed[:5])
    session = three.session(three.nodes[0])
    assert {key: value(session, key) for key in range(3)} == dict(done)
