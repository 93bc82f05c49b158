"""Nodes that come back at another address, as containers and DHCP give them: the same data directory, the same id, the same
certificate. The others have to learn it from the node itself, whatever the metadata log said of it before.
"""

import shutil

import pytest
from clusters import ALL, SMALL, command, eventually, run, status, table, token, up
from holon_node import free_address


def stop(node):
    node.terminate()
    node.wait_end()


def moves(node):
    """It will start elsewhere."""
    node.address = free_address()


def addresses(node):
    """Where a node says that the members are, by the address of their door for peers."""
    return {line.split()[i] for line in status(node).splitlines() for i, word in enumerate(line.split()) if word.endswith(":7000")}


def knows(node, nodes):
    return {f"{each.address}:7000" for each in nodes} <= addresses(node) and up(node) == len(nodes)


def peers(three, node):
    session = three.reconnect(node)
    rows = [*session.execute("SELECT peer AS address, rpc_address FROM system.peers"),
            *session.execute("SELECT broadcast_address AS address, rpc_address FROM system.local")]
    return {(row.address, row.rpc_address) for row in rows}


def all_serve(three):
    """Each node coordinates a statement that needs all."""
    expected = {(node.address, node.address) for node in three.nodes}
    for number, node in enumerate(three.nodes):
        eventually(f"{node.address} knows where all are", lambda node=node: knows(node, three.nodes), 40)
        assert peers(three, node) == expected
        session = three.session(node)
        run(session, f"INSERT INTO k.t (k, v) VALUES ({number}, {number})", ALL)
        assert run(session, f"SELECT v FROM k.t WHERE k = {number}", ALL).one().v == number


@pytest.mark.parametrize("insecure", [False, True])
def test_a_node_comes_back_at_another_address(cluster, insecure):
    three = cluster(insecure=insecure).form()
    table(three)
    driver = three.session(three.nodes[0]).cluster
    connection = driver.connection_factory(driver.metadata.get_host(three.nodes[0].address).endpoint)
    told = []
    watch = {kind: lambda event: told.append((event["change_type"], event["address"][0])) for kind in ("STATUS_CHANGE", "TOPOLOGY_CHANGE")}
    connection.register_watchers(watch)
    last = three.nodes[2]
    before = last.address
    stop(last)
    eventually("it fell", lambda: told == [("DOWN", before)], 20)
    moves(last)
    last.start()
    all_serve(three)
    after = [("REMOVED_NODE", before), ("NEW_NODE", last.address), ("UP", last.address)]
    eventually("drivers are told of its new address", lambda: len(told) > len(after), 10)
    assert told[1:] == after


def test_two_of_three_come_back_at_other_addresses(cluster):
    three = cluster().form()
    table(three)
    for node in three.nodes[:2]:
        node.kill()
        node.wait_end()
        moves(node)
    for node in three.nodes[:2]:
        node.start(wait=False)
    for node in three.nodes[:2]:
        node.wait_ready(60)
    all_serve(three)


@pytest.mark.parametrize("insecure", [False, True])
def test_all_come_back_at_other_addresses(cluster, insecure):
    """Nobody is where anybody thinks: each is told with --join where to look, as in a file that names them all."""
    three = cluster(insecure=insecure).form()
    table(three)
    for node in three.nodes:
        node.kill()
        node.wait_end()
        moves(node)
    seeds = ",".join(f"{node.address}:7000" for node in three.nodes[:2])
    for node in three.nodes:
        node.arguments = [*SMALL, "--rack", f"rack{three.nodes.index(node) + 1}", "--join", seeds]
        if insecure:
            node.arguments.append("--insecure")
        node.start(wait=False)
    for node in three.nodes:
        node.wait_ready(60)
    all_serve(three)


def test_a_removed_node_that_comes_back_elsewhere_is_told(cluster):
    """It is no member any more: nobody gossips with it, and the log knows only where it was."""
    four = cluster().form(4)
    gone = four.nodes.pop()
    gone.kill()
    gone.wait_end()
    eventually("the loss is known", lambda: " down " in status(four.nodes[0]))
    code, text = command(four.nodes[0], "cluster", "forget", gone.address)
    assert code == 0, text
    eventually("it is out of the ring", lambda: all(up(node) == 3 for node in four.nodes), 120)
    moves(gone)
    gone.start(wait=False)
    assert gone.wait_end(60) == 0 and "taken out of the cluster" in gone.said(), gone.said()
    table(four)
    assert all(up(node) == 3 for node in four.nodes)


def test_all_come_back_at_one_anothers_addresses(cluster):
    """Addresses that are given out are given out again: each finds another node than it expects, and asks who it is."""
    three = cluster().form()
    table(three)
    for node in three.nodes:
        node.kill()
        node.wait_end()
    places = [node.address for node in three.nodes]
    for number, node in enumerate(three.nodes):
        node.address = places[(number + 1) % 3]
    for number, node in enumerate(three.nodes):
        node.arguments = [*SMALL, "--rack", f"rack{number + 1}"]
        node.start(wait=False)
    for node in three.nodes:
        node.wait_ready(60)
    all_serve(three)


@pytest.mark.parametrize("insecure", [False, True])
def test_whoever_lost_its_disk_is_not_taken_for_one_more(cluster, insecure):
    """A node with an empty directory at the address of a member: that member's place is the only one it can have."""
    three = cluster(insecure=insecure).form()
    first, lost = three.nodes[0], three.nodes[2]
    session = table(three)
    for key in range(100):
        run(session, f"INSERT INTO k.t (k, v) VALUES ({key}, {key})", ALL)
    lost.kill()
    eventually("the loss is known", lambda: " down " in status(first))
    shutil.rmtree(lost.data_dir)

    def start(*arguments):
        proof = ["--insecure"] if insecure else ["--token", token(first)]
        lost.arguments = [*SMALL, "--rack", "rack3", "--join", f"{first.address}:7000", *proof, *arguments]
        lost.start(wait=False)

    start()
    lost.wait_for(f"{lost.address}:7000 is the address of node [0-9a-f-]+, which is a member: with --replace")
    assert len(addresses(first)) == 3 and up(first) == 2, status(first)
    lost.kill()
    start("--replace", lost.address)
    lost.wait_ready()
    eventually("it has the place of the lost one", lambda: up(first) == 3 and "change" not in status(first), 60)
    assert run(three.reconnect(lost), "SELECT count(*) FROM k.t", ALL).one().count == 100
    all_serve(three)
