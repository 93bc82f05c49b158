"""Crashes of the process: nothing acknowledged is lost, no row is torn, whenever it is killed."""

import random
import signal
import time

import holon_node
from loader import Loader

KILLS = 50


def test_fifty_kills_lose_nothing(make_node):
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    node = make_node().start()
    loader = Loader(node.address, seed)
    total, started = 0, time.monotonic()
    for kill in range(KILLS):
        loader.connect()
        loader.prepare()
        loader.verify()
        acknowledged = loader.load(chance.uniform(0.05, 1.5), node.kill)
        loader.close()
        total += acknowledged
        if chance.random() < 0.2:  # a node killed while it recovers must recover all the same
            node.start(wait=False)
            time.sleep(chance.uniform(0, 0.1))
            node.kill()
        node.start()
        if kill % 10 == 9:
            print(f"{kill + 1} kills, {total} acknowledged, {time.monotonic() - started:.0f} s, seed {seed}")
    loader.connect()
    loader.prepare()
    loader.verify()
    loader.close()
    assert total > 10 * KILLS, f"only {total} statements were acknowledged: this shows nothing"


def test_schema_survives_a_kill(make_node):
    node = make_node().start()
    for number in range(10):
        loader = Loader(node.address, number)
        loader.connect()
        loader.session.execute(f"CREATE KEYSPACE k{number} WITH replication = "
                               "{'class': 'SimpleStrategy', 'replication_factor': 1}")
        loader.session.execute(f"CREATE TABLE k{number}.t (k int PRIMARY KEY, v int)")
        loader.session.execute(f"ALTER TABLE k{number}.t ADD w text")
        loader.session.execute(f"INSERT INTO k{number}.t (k, w) VALUES (1, 'x')")
        if number:
            loader.session.execute(f"DROP TABLE k{number - 1}.t")
        node.kill()
        loader.close()
        node.start()
        loader.connect()
        assert loader.session.execute(f"SELECT k, v, w FROM k{number}.t").one() == (1, None, "x")
        if number:
            rows = loader.session.execute(f"SELECT table_name FROM system_schema.tables WHERE keyspace_name = 'k{number - 1}'")
            assert list(rows) == []
        loader.close()


def test_sigterm_stops_cleanly_and_keeps_everything(make_node):
    node = make_node().start()
    loader = Loader(node.address, 1)
    loader.connect()
    loader.prepare()
    acknowledged = loader.load(1.0, lambda: node.process.send_signal(signal.SIGTERM))
    code = node.wait_end(20)
    assert code == 0, f"it ended with {code}: {node.said()[-2000:]}"
    loader.close()
    assert acknowledged > 10
    node.start()
    loader.connect()
    loader.verify()
    loader.close()


def test_pause_is_survived(make_node):
    node = make_node().start()
    loader = Loader(node.address, 2)
    loader.connect()
    loader.prepare()

    def pause():
        node.process.send_signal(signal.SIGSTOP)
        time.sleep(2)
        node.process.send_signal(signal.SIGCONT)
        time.sleep(1)

    loader.load(0.5, pause)
    time.sleep(1)
    loader.verify()
    loader.close()
    assert node.running()


def test_ready_again_after_every_way_to_stop():
    with holon_node.Node() as node:
        for stop in (node.kill, node.terminate, node.kill):
            stop()
            node.start()
            assert node.running()
