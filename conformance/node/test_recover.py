"""A majority of the voters of the metadata is lost for good: the documented way back, step by step, and what must not happen on it."""

import shutil

import pytest
from clusters import ALL, ONE, command, eventually, run, status, table, up

ROWS = 300


def rows(session, level):
    return {row.k: row.v for row in run(session, "SELECT k, v FROM k.t", level)}


def lose(node):
    """The machine is gone with its disks."""
    node.kill()
    shutil.rmtree(node.data_dir)


def test_two_of_three_are_lost_and_the_third_goes_on(cluster):
    three = cluster().form()
    table(three)
    session = three.session(three.nodes[2])
    for key in range(ROWS):
        run(session, f"INSERT INTO k.t (k, v) VALUES ({key}, {key})", ALL)
    run(session, "CREATE TABLE k.once (k int PRIMARY KEY, v int)")
    for key in range(20):
        assert run(session, f"INSERT INTO k.once (k, v) VALUES ({key}, 1) IF NOT EXISTS").one().applied
    code, text = command(three.nodes[2], "recover")
    assert code != 0 and "in use by another node" in text, text
    lose(three.nodes[0])
    lose(three.nodes[1])
    left = three.nodes[2]
    with pytest.raises(Exception, match="(?i)timeout|outcome is unknown"):
        run(session, "CREATE TABLE k.too_late (k int PRIMARY KEY)")
    left.terminate()
    code, text = command(left, "recover")
    assert code == 0 and "Nothing was changed" in text and text.count(", ") >= 2 and "(this node)" in text, text
    code, again = command(left, "recover")
    assert again == text
    code, text = command(left, "recover", "--begin-anew")
    assert code == 0 and "this node alone votes" in text.lower() and "holon cluster forget" in text, text
    left.start()
    session = three.reconnect(left)
    assert rows(session, ONE) == {key: key for key in range(ROWS)}
    run(session, "CREATE TABLE k.after (k int PRIMARY KEY)")
    for lost in three.nodes[:2]:
        def given_up(lost=lost):
            return command(left, "cluster", "forget", lost.address)[0] == 0
        eventually("a lost node seems dead and is given up", given_up)
    eventually("the ring is one node's", lambda: status(left).count(" normal ") <= 1)
    assert rows(session, ONE) == {key: key for key in range(ROWS)}
    # Two machines in their place, and all is as before.
    three.nodes = [left]
    three.add()
    three.add()
    for node in three.nodes:
        eventually("all are in the ring", lambda node=node: up(node) == 3)
    eventually("three vote again", lambda: status(left).count("  voter  ") == 2)
    assert rows(three.session(three.nodes[1]), ALL) == {key: key for key in range(ROWS)}
    for key in range(20):
        answer = run(three.session(three.nodes[key % 3]), f"INSERT INTO k.once (k, v) VALUES ({key}, 2) IF NOT EXISTS").one()
        assert not answer.applied and answer.v == 1
    assert run(three.session(three.nodes[2]), "INSERT INTO k.once (k, v) VALUES (100, 1) IF NOT EXISTS").one().applied


def test_a_node_whose_history_is_not_that_of_the_cluster_any_more_ends_and_says_so(cluster):
    three = cluster(insecure=True).form()
    table(three)
    first, second, third = three.nodes
    third.terminate()
    # Two of three go on, and what they decide the third does not know.
    for number in range(3):
        run(three.session(first), f"CREATE TABLE k.unknown{number} (k int PRIMARY KEY)")
    first.kill()
    second.kill()
    assert command(third, "recover", "--begin-anew")[0] == 0
    third.start()
    session = three.reconnect(third)
    for number in range(5):
        run(session, f"CREATE TABLE k.new{number} (k int PRIMARY KEY)")
    second.start(wait=False)
    assert second.wait_end(60) != 0
    assert "begun anew" in second.said() and "empty data directory" in second.said(), second.said()
    names = {row.table_name for row in run(session, "SELECT table_name FROM system_schema.tables WHERE keyspace_name = 'k'")}
    assert names == {"t", *(f"new{number}" for number in range(5))}


def test_there_is_nothing_to_recover_in_a_directory_of_nobody(make_node, tmp_path):
    node = make_node(data_dir=tmp_path)
    code, text = command(node, "recover")
    assert code != 0 and "not the data directory of a node" in text, text
    assert not list(tmp_path.iterdir())
