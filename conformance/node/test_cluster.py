"""Several nodes as real processes on 127.x addresses: joining, one schema, quorums through the loss of a node, nodes that
come and go while a driver works.

The driver is DataStax's for Python; it retries nothing here, so what it reports is what the nodes answered.
"""

import re
import signal
import threading
import time

import pytest
from cassandra import ConsistencyLevel, Unavailable
from cassandra.query import SimpleStatement
from clusters import ALL, ONE, QUORUM, SMALL, command, eventually, run, status, table, token, up


def test_three_nodes_are_one_computer(cluster):
    three = cluster().form()
    first, second, third = [three.session(node) for node in three.nodes]
    run(first, "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 3}")
    run(second, "CREATE TABLE k.t (k int PRIMARY KEY, v int)")
    for key in range(60):
        run((first, second, third)[key % 3], f"INSERT INTO k.t (k, v) VALUES ({key}, {key * 7})")
    for key in range(60):
        assert run((first, second, third)[(key + 1) % 3], f"SELECT v FROM k.t WHERE k = {key}").one().v == key * 7
    for session in (first, second, third):
        assert run(session, "SELECT count(*) FROM k.t", ALL).one().count == 60
        assert run(session, "SELECT count(*) FROM k.t", ONE).one().count == 60
        assert [row.v for row in run(session, "SELECT v FROM k.t WHERE k IN (3, 1, 2)")] == [7, 14, 21]
    # DDL from any node, seen by all: truncation, too.
    run(third, "TRUNCATE k.t")
    assert run(first, "SELECT count(*) FROM k.t", ALL).one().count == 0
    versions = {row.schema_version for session in (first, second, third)
                for row in [*session.execute("SELECT schema_version FROM system.local"),
                            *session.execute("SELECT schema_version FROM system.peers")]}
    assert len(versions) == 1, versions


def test_drivers_discover_the_nodes_and_route_by_token(cluster):
    three = cluster().form()
    table(three)
    driver, session = three.any_session()
    hosts = driver.metadata.all_hosts()
    assert {host.address for host in hosts} == {node.address for node in three.nodes}
    assert {(host.datacenter, host.rack) for host in hosts} == {("datacenter1", f"rack{n}") for n in (1, 2, 3)}
    assert len({host.host_id for host in hosts}) == 3
    tokens = driver.metadata.token_map.ring
    assert len(tokens) == 64, len(tokens)
    for key in (b"\x00\x00\x00\x01", b"\x00\x00\x10\x01"):
        assert len(driver.metadata.get_replicas("k", key)) == 3
    prepared = session.prepare("INSERT INTO k.t (k, v) VALUES (?, ?)")
    prepared.consistency_level = QUORUM
    for key in range(100):
        session.execute(prepared, (key, key))
    assert run(session, "SELECT count(*) FROM k.t").one().count == 100


def test_two_changes_of_the_schema_at_once_are_one_truth(cluster):
    three = cluster().form()
    sessions = [three.session(node) for node in three.nodes]
    run(sessions[0], "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 3}")
    outcomes = []

    def create(number):
        try:
            run(sessions[number], f"CREATE TABLE k.t (k int PRIMARY KEY, v{number} int)")
            outcomes.append("made")
        except Exception as error:  # noqa: BLE001: the kind is what is looked at
            outcomes.append(type(error).__name__)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(3)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert sorted(outcomes) == ["AlreadyExists", "AlreadyExists", "made"], outcomes
    seen = {tuple(row.column_name for row in session.execute(
        "SELECT column_name FROM system_schema.columns WHERE keyspace_name = 'k' AND table_name = 't'")) for session in sessions}
    assert len(seen) == 1, seen


def test_a_changed_schema_is_known_at_every_node_when_the_change_is_answered(cluster):
    """Drivers look whether all nodes tell of one version of the schema, and then use any of them. Here nothing is between."""
    three = cluster().form()
    sessions = [three.session(node) for node in three.nodes]
    for session in sessions:
        session.cluster.schema_metadata_enabled = False
        session.cluster.max_schema_agreement_wait = 0
    run(sessions[0], "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 3}")
    for number in range(20):
        at, next_to, last = (sessions[(number + step) % 3] for step in range(3))
        run(at, f"CREATE TABLE k.t{number} (k int PRIMARY KEY, v int)")
        run(next_to, f"INSERT INTO k.t{number} (k, v) VALUES (1, 1)")
        run(last, f"ALTER TABLE k.t{number} ADD w int")
        assert run(at, f"SELECT w FROM k.t{number}").one().w is None
        run(next_to, f"DROP TABLE k.t{number}")
        run(last, f"CREATE TABLE k.t{number} (k int PRIMARY KEY, v text)")
        # What is there already is known to the others, too.
        run(at, f"CREATE TABLE IF NOT EXISTS k.t{number} (k int PRIMARY KEY, v text)")
        run(next_to, f"INSERT INTO k.t{number} (k, v) VALUES (1, 'a')")


def test_each_node_tells_the_version_of_the_schema_that_every_other_one_has(cluster):
    """Who lags is told apart, as drivers and people expect who look whether all agree."""
    three = cluster().form()
    session = table(three)

    def versions():
        own = session.execute("SELECT schema_version FROM system.local").one().schema_version
        for of_peers in ("system.peers", "system.peers_v2"):
            key = "peer" if of_peers == "system.peers" else "native_address"
            rows = list(session.execute(f"SELECT {key}, schema_version FROM {of_peers}"))
            yield {own, *(row.schema_version for row in rows if row[0] != three.nodes[2].address)}, \
                {row.schema_version for row in rows if row[0] == three.nodes[2].address}

    for well, last in versions():
        assert well == last and len(well) == 1, (well, last)
    before = well
    session.cluster.max_schema_agreement_wait = 0
    three.nodes[2].process.send_signal(signal.SIGSTOP)
    try:
        run(session, "CREATE TABLE k.another (k int PRIMARY KEY)")
        deadline, alive, lagged = time.monotonic() + 60, True, False
        while alive:
            assert time.monotonic() < deadline, "never taken for dead"
            looks = list(versions())
            # If it seems alive after them, it did during them.
            alive = up(three.nodes[0]) == 3
            for well, last in looks:
                assert len(well) == 1 and well != before, (well, before)
                assert not alive or last == before, (last, before)
            lagged = lagged or any(last == before for _, last in looks)
        assert lagged, "taken for dead before anybody could look"
        # Nobody waits for the dead, who may never come back.
        for well, last in versions():
            assert well == last and well != before, (well, last, before)
    finally:
        three.nodes[2].process.send_signal(signal.SIGCONT)
    eventually("all agree", lambda: all(well == last for well, last in versions()), 30)


def test_clients_are_told_who_comes_goes_and_falls(cluster):
    three = cluster().form(2)
    driver = three.session(three.nodes[0]).cluster
    connection = driver.connection_factory(driver.metadata.get_host(three.nodes[0].address).endpoint)
    told = []
    watch = {kind: lambda event: told.append((event["change_type"], event["address"][0])) for kind in ("STATUS_CHANGE", "TOPOLOGY_CHANGE")}
    connection.register_watchers(watch)
    third = three.add()
    expected = [("NEW_NODE", third.address), ("UP", third.address)]
    eventually("one came", lambda: told == expected, 20)
    third.kill()
    eventually("it fell", lambda: told == [*expected, ("DOWN", third.address)], 30)
    third.start()
    expected += [("DOWN", third.address), ("UP", third.address)]
    eventually("it is back", lambda: told == expected, 20)
    assert command(three.nodes[0], "cluster", "drain", third.address)[0] == 0
    expected += [("REMOVED_NODE", third.address), ("DOWN", third.address)]
    eventually("it left", lambda: told == expected, 30)
    third.wait_end()
    assert told == expected
    connection.close()


def test_who_is_refused_is_told_how_many_replicas_are_alive(cluster):
    """Of the partition, not of the cluster: policies choose a lower level by this figure."""
    three = cluster().form()
    session = table(three, factor=2)
    three.nodes[2].kill()
    eventually("the loss is known", lambda: up(three.nodes[0]) == 2)
    seen = set()
    for key in range(20):
        for text in (f"INSERT INTO k.t (k, v) VALUES ({key}, 1)", f"SELECT v FROM k.t WHERE k = {key}"):
            alive = 2
            try:
                run(session, text, ALL)
            except Unavailable as refused:
                assert (refused.required_replicas, refused.alive_replicas) == (2, 1)
                alive = 1
            with pytest.raises(Unavailable) as refused:
                run(session, text, ConsistencyLevel.THREE)
            assert (refused.value.required_replicas, refused.value.alive_replicas) == (3, alive)
            seen.add(alive)
    assert seen == {1, 2}


def test_a_condition_that_nobody_can_decide_is_refused_at_its_serial_level(cluster):
    """Also where the level at which it is written could not be met either: that comes after."""
    four = cluster().form(4)
    session = table(four)
    for node in four.nodes[2:]:
        node.kill()
    eventually("the losses are known", lambda: up(four.nodes[0]) == 2)
    seen = set()
    for key in range(40):
        with pytest.raises(Unavailable) as refused:
            run(session, f"INSERT INTO k.t (k, v) VALUES ({key}, 1) IF NOT EXISTS", ALL)
        seen.add((refused.value.consistency, refused.value.required_replicas, refused.value.alive_replicas))
    assert seen == {(ConsistencyLevel.SERIAL, 2, 1), (ALL, 3, 2)}


def test_a_trace_can_be_read_at_any_node(cluster):
    """Drivers ask for a trace where their policy leads them, not where it was made."""
    three = cluster().form()
    session = table(three)
    traced = session.execute("INSERT INTO k.t (k, v) VALUES (1, 1)", trace=True).get_query_trace()
    for node in three.nodes:
        at = three.session(node)
        found = at.execute("SELECT coordinator, duration FROM system_traces.sessions WHERE session_id = %s", (traced.trace_id,)).one()
        assert (found.coordinator, found.duration is not None) == (three.nodes[0].address, True)
        events = list(at.execute("SELECT activity FROM system_traces.events WHERE session_id = %s", (traced.trace_id,)))
        assert [event.activity for event in events] == [event.description for event in traced.events]
    # Of each replica it has what that did, under its address, and in the time that the request took.
    written = session.execute(SimpleStatement("INSERT INTO k.t (k, v) VALUES (1, 2)", consistency_level=ALL), trace=True)
    written = written.get_query_trace()
    assert {event.source for event in written.events} == {node.address for node in three.nodes}
    assert all(event.source_elapsed <= written.duration for event in written.events), written.events
    three.nodes[2].kill()
    assert three.session(three.nodes[1]).execute(
        "SELECT duration FROM system_traces.sessions WHERE session_id = %s", (traced.trace_id,)).one()


def test_the_loss_of_one_of_three_is_not_noticed_at_quorum(cluster):
    three = cluster().form()
    table(three)
    first, second = three.session(three.nodes[0]), three.session(three.nodes[1])
    failures, stop = [], threading.Event()
    done = [0]

    def load(session, offset):
        key = offset
        while not stop.is_set():
            try:
                run(session, f"INSERT INTO k.t (k, v) VALUES ({key}, {key})")
                found = run(session, f"SELECT v FROM k.t WHERE k = {key}").one()
                assert found is not None and found.v == key, (key, found)
                done[0] += 1
            except Exception as error:  # noqa: BLE001: each failure counts, whatever its kind
                failures.append((key, repr(error)))
            key += 2

    threads = [threading.Thread(target=load, args=(session, offset), daemon=True) for offset, session in enumerate((first, second))]
    [thread.start() for thread in threads]
    # Before the loss, while nobody knows of it yet, and when it is known.
    eventually("the load is under way", lambda: done[0] > 200)
    three.nodes[2].kill()
    killed = done[0]
    eventually("the loss is known", lambda: " down " in status(three.nodes[0]))
    known = done[0]
    eventually("the load goes on", lambda: done[0] > known + 200)
    stop.set()
    [thread.join() for thread in threads]
    assert not failures, (len(failures), failures[:3])
    assert known > killed, "nothing was answered until the loss was known"
    with pytest.raises(Unavailable) as refused:
        run(first, "INSERT INTO k.t (k, v) VALUES (1, 1)", ALL)
    assert (refused.value.required_replicas, refused.value.alive_replicas) == (3, 2)
    # It comes back and is brought up to date by hints: each row is there when only this node is asked.
    keys = [row.k for row in run(first, "SELECT k FROM k.t")]
    three.nodes[2].start()
    third = three.session(three.nodes[2])

    def all_there():
        return sum(1 for _ in run(third, "SELECT k FROM k.t", ONE)) >= len(keys)

    eventually("the third node has all rows", all_there)


def test_repair_brings_back_what_a_replica_lost(cluster):
    three = cluster().form()
    session = table(three)
    for key in range(200):
        run(session, f"INSERT INTO k.t (k, v) VALUES ({key}, {key})", ALL)
    # One replica loses what it has, as if its disk had been replaced by an old copy.
    code, text = command(three.nodes[2], "tables", "snapshot", "before", "k", "t")
    assert code == 0, text
    for key in range(200, 400):
        run(session, f"INSERT INTO k.t (k, v) VALUES ({key}, {key})", ALL)
    code, text = command(three.nodes[2], "tables", "restore", "before", "k", "t")
    assert code == 0, text
    third = three.session(three.nodes[2])
    assert run(third, "SELECT count(*) FROM k.t", ONE).one().count == 200
    said = [command(node, "tables", "repair", "k") for node in three.nodes]
    assert all(code == 0 for code, _ in said), said
    assert sum(int(count) for _, text in said for count in re.findall(r"(\d+) rows compared", text)) == 400, said
    assert run(third, "SELECT count(*) FROM k.t", ONE).one().count == 400
    said = [command(node, "tables", "repair", "k") for node in three.nodes]
    assert all(set(re.findall(r"(\d+) mutations", text)) <= {"0"} for _, text in said), said


def test_what_nobody_reads_gets_to_a_replica_that_was_away(cluster):
    """Replicas compare themselves: no hint lives so long, and no read repairs."""
    three = cluster()
    for _ in range(3):
        three.add("--repair-interval", "2s")
    for node in three.nodes:
        eventually("all are in the ring", lambda node=node: up(node) == 3)
    session, away = table(three), three.nodes[2]
    run(session, "ALTER TABLE k.t WITH gc_grace_seconds = 1")
    for key in range(100):
        run(session, f"INSERT INTO k.t (k, v) VALUES ({key}, {key})", ALL)
    away.kill()
    eventually("its absence is noticed", lambda: up(three.nodes[0]) == 2)
    for key in range(50):
        run(session, f"DELETE FROM k.t WHERE k = {key}")
    for key in range(100, 150):
        run(session, f"INSERT INTO k.t (k, v) VALUES ({key}, {key})")
    time.sleep(2)  # older than any hint of this table may get
    away.start()
    session = three.reconnect(away)
    expected = set(range(50, 150))
    eventually("the node that was away shows all of it at ONE",
               lambda: {row.k for row in run(session, "SELECT k FROM k.t", ONE)} == expected)
    assert {row.k for row in run(three.session(three.nodes[0]), "SELECT k FROM k.t", ALL)} == expected
    eventually("each node says since when all tablets are equal",
               lambda: all("all tablets equal" in status(node) for node in three.nodes))


def test_the_schema_changes_without_the_leader(cluster):
    three = cluster().form()
    table(three)
    eventually("three voters", lambda: all(len(re.search(r"voters ([0-9a-f ]+)", status(n)).group(1).split()) == 3 for n in three.nodes))
    leader = re.search(r"leader ([0-9a-f]{8})", status(three.nodes[0])).group(1)
    ids = [re.search(r"^node +([0-9a-f]{8})", status(node), re.M).group(1) for node in three.nodes]
    lost = three.nodes[ids.index(leader)]
    other = next(node for node in three.nodes if node is not lost)
    lost.kill()
    began = time.monotonic()
    run(three.session(other), "CREATE TABLE k.u (k int PRIMARY KEY)")
    print(f"a table was made {time.monotonic() - began:.1f} s after the leader was killed")
    lost.start()
    again = three.reconnect(lost)
    eventually("all three are up", lambda: all(" down " not in status(node) for node in three.nodes))
    run(again, "INSERT INTO k.u (k) VALUES (1)", ALL)


def test_all_nodes_killed_at_once_come_back_with_everything(cluster):
    three = cluster().form()
    session = table(three)
    for key in range(50):
        run(session, f"INSERT INTO k.t (k, v) VALUES ({key}, {key})")
    for node in three.nodes:
        node.process.send_signal(signal.SIGKILL)
    for node in three.nodes:
        node.kill()
    three.close()
    three.sessions.clear()
    for node in three.nodes:
        node.start(wait=False)
    for node in three.nodes:
        node.wait_ready()
    session = three.session(three.nodes[1])
    eventually("a quorum answers", lambda: run(session, "SELECT count(*) FROM k.t").one().count == 50)
    run(session, "CREATE TABLE k.u (k int PRIMARY KEY)")


def test_a_node_joins_and_another_leaves_while_a_driver_works(cluster):
    three = cluster().form()
    session = table(three)
    failures, stop, written = [], threading.Event(), []

    def load():
        key = 0
        while not stop.is_set():
            try:
                run(session, f"INSERT INTO k.t (k, v) VALUES ({key}, {key})")
                written.append(key)
                back = written[key % len(written)]
                found = run(session, f"SELECT v FROM k.t WHERE k = {back}").one()
                assert found is not None and found.v == back, (back, found)
            except Exception as error:  # noqa: BLE001: each failure counts, whatever its kind
                failures.append((key, repr(error)))
            key += 1

    thread = threading.Thread(target=load)
    thread.start()
    try:
        fourth = three.add()
        eventually("the fourth is in the ring", lambda: up(three.nodes[0]) == 4, 120)
        leaving = re.search(r"^node +([0-9a-f-]{36})", status(three.nodes[2]), re.M).group(1)
        # The ring may be on its way to more slots, for four: one change at a time, as the refusal says.
        eventually("the drain is accepted", lambda: command(three.nodes[0], "cluster", "drain", leaving)[0] == 0)
        eventually("the third has left", lambda: leaving[:8] not in status(three.nodes[0]), 120)
        # It ends by itself, in order, and says why; with its old data it does not start again.
        assert three.nodes[2].wait_end(90) == 0 and "taken out of the cluster" in three.nodes[2].said(), three.nodes[2].said()
        assert three.nodes[2].start(wait=False).wait_end(60) != 0
        assert "taken out of the cluster" in three.nodes[2].said(), three.nodes[2].said()
    finally:
        stop.set()
        thread.join()
    assert not failures, (len(failures), failures[:3])
    assert len(written) > 200
    for node in (three.nodes[0], three.nodes[1], fourth):
        assert run(three.session(node), "SELECT count(*) FROM k.t", ALL).one().count == len(written)


def node_id(node):
    return re.search(r"^node +([0-9a-f-]{36})", status(node), re.M).group(1)


def test_a_dead_node_is_replaced_and_ends_when_it_comes_back(cluster):
    three = cluster().form()
    session = table(three)
    for key in range(300):
        run(session, f"INSERT INTO k.t (k, v) VALUES ({key}, {key})")
    dead = three.nodes[2]
    name = node_id(dead)
    refused = three.add("--replace", "ffffffff", wait=False)
    assert refused.wait_end(60) != 0 and "no node's id begins with" in refused.said(), refused.said()
    three.nodes.remove(refused)
    dead.kill()
    # Asks until the others have noticed that the node is down.
    new = three.add("--replace", name[:12])
    eventually("the new node has taken its place", lambda: up(new) == 3 and name[:8] not in status(new), 120)
    for key in range(300, 400):
        run(session, f"INSERT INTO k.t (k, v) VALUES ({key}, {key})", ALL)
    assert run(three.session(new), "SELECT count(*) FROM k.t", ONE).one().count == 400
    # The old one has slept through all that: it learns of it, ends, and harms nothing.
    dead.start(wait=False)
    assert dead.wait_end(120) == 0 and "taken out of the cluster" in dead.said(), dead.said()
    assert up(new) == 3 and run(session, "SELECT count(*) FROM k.t", ALL).one().count == 400


def test_a_dead_node_is_forgotten(cluster):
    four = cluster().form(4)
    session = table(four)
    for key in range(300):
        run(session, f"INSERT INTO k.t (k, v) VALUES ({key}, {key})")
    name = node_id(four.nodes[3])
    code, text = command(four.nodes[0], "cluster", "forget", name)
    assert code != 0 and "seems alive" in text, text
    four.nodes[3].kill()
    eventually("the loss is known", lambda: " down " in status(four.nodes[0]))
    code, text = command(four.nodes[0], "cluster", "drain", name)
    assert code != 0 and "forget" in text, text
    code, text = command(four.nodes[0], "cluster", "forget", four.nodes[3].address)
    assert code == 0, text
    eventually("it is out of the ring", lambda: up(four.nodes[0]) == 3 and name[:8] not in status(four.nodes[0]), 120)
    assert run(session, "SELECT count(*) FROM k.t", ALL).one().count == 300
    run(session, "INSERT INTO k.t (k, v) VALUES (1000, 1)", ALL)


def test_a_join_is_cancelled(cluster):
    three = cluster().form()
    session = table(three)
    for number in range(4):
        run(session, f"CREATE TABLE k.more{number} (k int PRIMARY KEY, v text)")
    for key in range(2000):
        run(session, f"INSERT INTO k.more{key % 4} (k, v) VALUES ({key}, '{'x' * 1000}')")
    fourth = three.add(wait=False)
    eventually("it is being cancelled", lambda: command(three.nodes[0], "cluster", "cancel")[0] == 0)
    assert fourth.wait_end(120) == 0 and "taken out of the cluster" in fourth.said(), fourth.said()
    three.nodes.remove(fourth)
    eventually("as before", lambda: up(three.nodes[0]) == 3 and "change" not in status(three.nodes[0]), 60)
    assert sum(run(session, f"SELECT count(*) FROM k.more{n}", ALL).one().count for n in range(4)) == 2000


@pytest.mark.parametrize("wrong", ["token", "used", "none", "insecure"])
def test_who_has_no_good_token_is_not_let_in(cluster, make_node, wrong):
    three = cluster()
    first = three.add()
    good = token(first)
    join = ["--join", f"{first.address}:7000"]
    if wrong == "used":
        make_node(arguments=[*SMALL, *join, "--token", good]).start()
    arguments = {"token": ["--token", "holon1." + "A" * 76], "used": ["--token", good], "none": [], "insecure": ["--insecure"]}[wrong]
    refused = make_node(arguments=[*SMALL, *join, *arguments]).start(wait=False)
    if wrong == "insecure":
        # A door that wants TLS does not answer what is not: it keeps trying until it gives up.
        time.sleep(3)
        assert refused.running() or refused.process.returncode != 0
        assert "ready in" not in refused.said()
    else:
        assert refused.wait_end(90) != 0
        assert "token" in refused.said() or "authority" in refused.said(), refused.said()
    assert status(first).count(" up ") == (2 if wrong == "used" else 1)


def test_without_tls_by_name_only(cluster):
    three = cluster(insecure=True).form()
    table(three)
    run(three.session(three.nodes[2]), "INSERT INTO k.t (k, v) VALUES (1, 2)", ALL)
    code, text = command(three.nodes[0], "token")
    assert code != 0 and "--insecure" in text
