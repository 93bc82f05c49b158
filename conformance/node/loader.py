"""A loader that remembers what was acknowledged, and a judge of what is there after a crash.

Each key sees one statement at a time. What was acknowledged must be there; what was under way at the crash may be there
or not, but whole: the columns of a row are functions of its version, so a torn row cannot agree with itself.
"""

import random
import threading
import time

from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.query import SimpleStatement

KEYSPACE = "loader"
TABLE = f"{KEYSPACE}.rows"
PARTITIONS = 40
ROWS_PER_PARTITION = 25
#: Statements under way at a time.
CONCURRENCY = 64
REQUEST_LIMIT_S = 20


def columns_of(key, version):
    """What a row holds at a version: every column tells which, so a mix of two versions shows."""
    partition, clustering = key
    number = version * 1_000_003 + partition * 1009 + clustering
    return version, f"{partition}/{clustering}/{version}", number.to_bytes(8, "big") * (1 + number % 40), [version, number]


class Violation(AssertionError):
    """Something acknowledged is missing, or a row is torn."""


class Loader:
    """Writes, overwrites and deletes rows until the node goes away; then compares."""

    def __init__(self, address, seed, port=9042):
        self.address, self.port = address, port
        self.random = random.Random(seed)
        self.keys = [(p, c) for p in range(PARTITIONS) for c in range(ROWS_PER_PARTITION)]
        #: What must be there: the version, or None for a row that is absent.
        self.acknowledged = dict.fromkeys(self.keys)
        #: The state of a statement whose outcome is unknown.
        self.pending = {}
        self.version = 0
        self.statements = 0
        self.lock = threading.Lock()
        self.cluster = self.session = None

    def connect(self):
        profile = ExecutionProfile(request_timeout=REQUEST_LIMIT_S)
        self.cluster = Cluster(
            [self.address], port=self.port, execution_profiles={EXEC_PROFILE_DEFAULT: profile}, protocol_version=5,
            schema_metadata_enabled=False, token_metadata_enabled=False, connect_timeout=REQUEST_LIMIT_S)
        self.session = self.cluster.connect()

    def prepare(self):
        """Makes the table when it is not there, and the statements."""
        self.session.execute(f"CREATE KEYSPACE IF NOT EXISTS {KEYSPACE} WITH replication = "
                             "{'class': 'SimpleStrategy', 'replication_factor': 1}")
        self.session.execute(f"CREATE TABLE IF NOT EXISTS {TABLE} (p int, c int, version bigint, name text, data blob, "
                             "numbers frozen<list<bigint>>, PRIMARY KEY (p, c))")
        self.write = self.session.prepare(
            f"INSERT INTO {TABLE} (p, c, version, name, data, numbers) VALUES (?, ?, ?, ?, ?, ?)")
        self.delete = self.session.prepare(f"DELETE FROM {TABLE} WHERE p = ? AND c = ?")

    def close(self):
        if self.cluster is not None:
            self.cluster.shutdown()
            self.cluster = self.session = None

    def load(self, seconds, kill):
        """Loads; after `seconds` calls `kill` while statements are under way. The number of statements acknowledged."""
        stopped = threading.Event()
        free = threading.Semaphore(CONCURRENCY)
        acknowledged_before = self.statements
        deadline = time.monotonic() + seconds
        killer = threading.Timer(seconds, lambda: (kill(), stopped.set()))
        killer.start()
        while not stopped.is_set() and time.monotonic() < deadline + 10:
            if not free.acquire(timeout=0.05):
                continue
            with self.lock:
                key = self._free_key()
                self.version += 1
                state = None if self.random.random() < 0.1 else self.version
                self.pending[key] = state
            self._send(key, state, free, stopped)
        killer.join()
        return self.statements - acknowledged_before

    def _free_key(self):
        while True:
            key = self.random.choice(self.keys)
            if key not in self.pending:
                return key

    def _send(self, key, state, free, stopped):
        def done(_):
            with self.lock:
                self.acknowledged[key] = state
                del self.pending[key]
                self.statements += 1
            free.release()

        def failed(_):
            free.release()
            if not stopped.is_set():
                time.sleep(0.001)

        try:
            if state is None:
                future = self.session.execute_async(self.delete, key)
            else:
                future = self.session.execute_async(self.write, (*key, *columns_of(key, state)))
            future.add_callbacks(done, failed)
        except Exception as error:  # the driver raises at once when the node is gone
            failed(error)

    def verify(self):
        """Compares what is there with what must be; raises Violation. What is seen is from then on acknowledged."""
        statement = SimpleStatement(f"SELECT p, c, version, name, data, numbers FROM {TABLE}", fetch_size=500)
        seen = {}
        for row in self.session.execute(statement):
            key = (row.p, row.c)
            if key in seen:
                raise Violation(f"row {key} came twice")
            if (row.version, row.name, row.data, row.numbers) != columns_of(key, row.version or 0):
                raise Violation(f"row {key} is torn: {row}")
            seen[key] = row.version
        with self.lock:
            for key in self.keys:
                allowed = [self.acknowledged[key]]
                if key in self.pending:
                    allowed.append(self.pending[key])
                if seen.get(key) not in allowed:
                    raise Violation(f"row {key}: version {seen.get(key)} is there, one of {allowed} must be")
                self.acknowledged[key] = seen.get(key)
            self.pending.clear()
        if stranger := set(seen) - set(self.keys):
            raise Violation(f"rows that nobody wrote: {stranger}")
