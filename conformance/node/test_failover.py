"""What an application sees of a node that dies, and of a rolling restart, through the stock driver with its default policies: it
balances by token and round robin, and turns to another node when a connection ends. All at QUORUM, with three replicas.

Each worker owns a row: what was acknowledged must be there, and what was read must not go back.
"""

import collections
import threading
import time

from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile

from clusters import QUORUM, eventually, table, up

WORKERS = 6
WARM_UP_S = 1
AFTER_S = 4


class Application:
    """Workers that write and read until they are stopped; what failed is kept with the node that was asked last."""

    def __init__(self, nodes):
        # Only the level is not the default: at ONE the loss of a node would not be noticed by anybody.
        profile = ExecutionProfile(consistency_level=QUORUM)
        self.cluster = Cluster([node.address for node in nodes], execution_profiles={EXEC_PROFILE_DEFAULT: profile})
        self.session = self.cluster.connect()
        self.write = self.session.prepare("INSERT INTO k.t (k, v) VALUES (?, ?)")
        self.read = self.session.prepare("SELECT v FROM k.t WHERE k = ?")
        self.stopping = threading.Event()
        self.served, self.failed, self.wrong = collections.Counter(), [], []
        self.threads = [threading.Thread(target=self.work, args=(key,)) for key in range(WORKERS)]

    def ask(self, statement, values):
        """Its rows, or None if it failed."""
        future = self.session.execute_async(statement, values)
        try:
            rows = list(future.result())
        except Exception as error:  # noqa: BLE001: each failure counts, whatever its kind
            self.failed.append((future._current_host.address, repr(error)))
            return None
        self.served[future.coordinator_host.address] += 1
        return rows

    def work(self, key):
        acknowledged, tried = 0, 0
        while not self.stopping.is_set():
            tried += 1
            if self.ask(self.write, (key, tried)) is not None:
                acknowledged = tried
            rows = self.ask(self.read, (key,))
            if rows is None:
                continue
            seen = rows[0].v if rows else 0
            if not acknowledged <= seen <= tried:
                self.wrong.append((key, acknowledged, seen, tried))
            acknowledged = max(acknowledged, seen)

    def start(self):
        for thread in self.threads:
            thread.start()
        time.sleep(WARM_UP_S)

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        self.cluster.shutdown()


def test_a_node_that_dies_fails_no_request_through_the_others(cluster):
    three = cluster().form()
    table(three)
    application = Application(three.nodes)
    try:
        application.start()
        assert set(application.served) == {node.address for node in three.nodes}, "all of them are asked"
        dead = three.nodes[1]
        dead.kill()
        before = application.served.copy()
        time.sleep(AFTER_S)
    finally:
        application.stop()
    in_flight = [failure for failure in application.failed if failure[0] == dead.address]
    others = [failure for failure in application.failed if failure[0] != dead.address]
    after = {address: count - before[address] for address, count in application.served.items()}
    print(f"\n  served after the kill, by node: {after}; in flight on its connections: {in_flight}")
    assert not others, (len(others), others[:5])
    # Each worker has one request at a time, and the driver turns to another node for the next.
    assert len(in_flight) <= WORKERS, in_flight
    assert all(after[node.address] > 20 for node in three.nodes if node is not dead), after
    assert not application.wrong, application.wrong[:5]


def test_a_rolling_restart_fails_no_request_at_all(cluster):
    three = cluster().form()
    table(three)
    application = Application(three.nodes)
    try:
        application.start()
        for node in three.nodes:
            before = application.served[node.address]
            assert node.terminate() == 0
            time.sleep(1)
            node.start()
            eventually("it is back", lambda: all(up(each) == 3 for each in three.nodes))
            # The driver finds it again, and asks it.
            eventually("it is asked again", lambda: application.served[node.address] > before + 10)
    finally:
        application.stop()
    print(f"\n  served by node: {dict(application.served)}; failed: {application.failed}")
    assert not application.failed, (len(application.failed), application.failed[:5])
    assert not application.wrong, application.wrong[:5]
