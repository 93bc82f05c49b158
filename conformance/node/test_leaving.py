"""Nodes that are to leave: not below the replication factor, not towards a node that is down, unless somebody insists; and a
change that waits says for whom.
"""

import json
import re
import time

from clusters import ALL, QUORUM, command, eventually, run, status, table, up


def waits(node):
    code, text = command(node, "status", "--format", "json")
    assert code == 0, text
    change = json.loads(text)["cluster"]["change"]
    return [] if change is None else change["waits"]


def test_a_drain_below_the_replication_factor_is_refused(cluster):
    three = cluster().form()
    first, last = three.nodes[0], three.nodes[2]
    session = table(three)
    run(session, "CREATE KEYSPACE few WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 2}")
    run(session, "CREATE TABLE few.t (k int PRIMARY KEY)")
    run(session, "CREATE KEYSPACE here WITH replication = {'class': 'NetworkTopologyStrategy', 'datacenter1': 3}")
    run(session, "CREATE TABLE here.t (k int PRIMARY KEY)")
    for key in range(50):
        run(session, f"INSERT INTO k.t (k, v) VALUES ({key}, {key})", ALL)
    code, text = command(first, "cluster", "drain", last.address)
    assert code != 0 and "not enough nodes" in text and "--force" in text, text
    assert "keyspace k (RF = 3, N = 3)" in text and "keyspace here (RF = 3, N = 3 in data centre datacenter1)" in text, text
    assert "keyspace few" not in text, text
    assert up(first) == 3 and "change" not in status(first)
    # Asked for less often, it may go.
    run(session, "ALTER KEYSPACE here WITH replication = {'class': 'NetworkTopologyStrategy', 'datacenter1': 2}")
    code, text = command(first, "cluster", "drain", last.address)
    assert code != 0 and "keyspace k (RF = 3, N = 3)" in text and "keyspace here" not in text, text
    eventually("the drain is accepted", lambda: command(first, "cluster", "drain", last.address, "--force")[0] == 0)
    assert last.wait_end(120) == 0 and "taken out of the cluster" in last.said(), last.said()
    # Two of three replicas are left: as many as a quorum needs.
    assert up(first) == 2 and run(session, "SELECT count(*) FROM k.t", QUORUM).one().count == 50


def test_a_drain_with_a_node_down_says_what_it_would_wait_for(cluster):
    four = cluster().form(4)
    first, leaving, down = four.nodes[0], four.nodes[2], four.nodes[3]
    session = table(four)
    for key in range(50):
        run(session, f"INSERT INTO k.t (k, v) VALUES ({key}, {key})", ALL)
    down.kill()
    down.wait_end()
    eventually("the loss is known", lambda: " down " in status(first))
    code, text = command(first, "cluster", "drain", leaving.address)
    assert code != 0 and re.search(r"is down for \d+ s, and \d+ tablets would go there", text), text
    assert "cluster forget" in text and "--force" in text, text
    assert up(first) == 3
    code, text = command(first, "cluster", "drain", leaving.address, "--force")
    assert code == 0, text
    eventually("it says for whom it waits", lambda: waits(first), 30)
    since = waits(first)[0]["down_seconds"]
    time.sleep(2)
    waited = waits(first)
    assert len(waited) == 1 and waited[0]["tablets"] > 0 and waited[0]["down_seconds"] >= since + 1, waited
    assert f"WAITS for node {waited[0]['node_id'][:8]}, which is down for" in status(first), status(first)
    # It comes back, and the change goes on to its end.
    down.start()
    assert leaving.wait_end(180) == 0 and "taken out of the cluster" in leaving.said(), leaving.said()
    eventually("all that are left are up", lambda: up(first) == 3)
    assert waits(first) == [] and run(session, "SELECT count(*) FROM k.t", ALL).one().count == 50


def test_who_is_stopped_tells_the_others_each_time(cluster):
    """Else they find out after seconds, and drivers hear neither of its end nor of its return."""
    three = cluster().form()
    last = three.nodes[2]
    for _ in range(12):
        assert last.terminate() == 0
        last.start()
        for node in three.nodes[:2]:
            eventually("it is back", lambda node=node: up(node) == 3)
    for node in three.nodes[:2]:
        said = node.said()
        assert said.count("has stopped") == 12 and "seems dead" not in said, said
