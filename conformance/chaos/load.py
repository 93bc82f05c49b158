"""Clients: what they ask with a stock driver, and a record of each statement with its beginning, its end and what came back.

Each client is a thread with a driver of its own, pinned to one node, with one statement under way and none ever sent twice: no
retries, no speculation, no other node. When it loses its node it notes an unknown outcome and connects anew.

Three kinds of objects, each kind in a table of its own:
- rows, written and deleted at QUORUM with timestamps of the clients' own, read at QUORUM and ONE;
- registers, changed by conditional statements only, read at a serial level;
- counters.

Rows and registers are left behind for new ones every few seconds, so that no history grows too long to be checked.
`holon-sim check-history` says how a record is written and what must hold.
"""

import itertools
import json
import random
import threading
import time

from cassandra import (ConsistencyLevel, InvalidRequest, ReadFailure, ReadTimeout, Unavailable, WriteFailure, WriteTimeout)
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import FallthroughRetryPolicy, WhiteListRoundRobinPolicy
from cassandra.protocol import ErrorMessage
from cassandra.query import SimpleStatement, tuple_factory

KEYSPACE = "chaos"
SETUP = (
    "CREATE KEYSPACE {keyspace} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 3}}",
    "CREATE TABLE {keyspace}.r (k int PRIMARY KEY, v bigint)",
    "CREATE TABLE {keyspace}.l (id int PRIMARY KEY, v int)",
    "CREATE TABLE {keyspace}.n (id int PRIMARY KEY, c counter)",
)
# Longer than any limit of the node's own (5 s for a read): its answer is better than none.
REQUEST_TIMEOUT_S = 6
CONNECT_TIMEOUT_S = 2
# Most clients; a timestamp carries its client in so many.
CLIENTS_MAX = 64
ROWS, REGISTERS, COUNTERS = 6, 4, 3
AGE_S = 10
THINK_S = 0.03
LEVELS = {"ONE": ConsistencyLevel.ONE, "QUORUM": ConsistencyLevel.QUORUM, "ALL": ConsistencyLevel.ALL}
CODES = ((Unavailable, 0x1000), (WriteTimeout, 0x1100), (ReadTimeout, 0x1200), (ReadFailure, 0x1300), (WriteFailure, 0x1500),
         (InvalidRequest, 0x2200))


def connect(address):
    """A driver that talks to this node only; raises when it cannot."""
    profile = ExecutionProfile(load_balancing_policy=WhiteListRoundRobinPolicy([address]), request_timeout=REQUEST_TIMEOUT_S,
                               retry_policy=FallthroughRetryPolicy(), row_factory=tuple_factory)
    cluster = Cluster([address], execution_profiles={EXEC_PROFILE_DEFAULT: profile}, protocol_version=5,
                      connect_timeout=CONNECT_TIMEOUT_S, control_connection_timeout=CONNECT_TIMEOUT_S, executor_threads=1,
                      schema_metadata_enabled=False, token_metadata_enabled=False, monitor_reporting_enabled=False)
    try:
        return cluster.connect()
    except BaseException:
        cluster.shutdown()
        raise


def code(error):
    """The number of an error that the node sent; `None` if it sent none."""
    for kind, number in CODES:
        if isinstance(error, kind):
            return number
    return error.error_code if isinstance(error, ErrorMessage) else None


class History:
    """Records of all clients, and what they share: what was seen, what there is to be read at the end."""

    def __init__(self):
        self.began = time.monotonic()
        self.records, self.lock = [], threading.Lock()
        self.shown, self.objects = {}, {"row": set(), "register": set(), "counter": set()}
        self.values = itertools.count(1)

    def age(self):
        return int((time.monotonic() - self.began) / AGE_S)

    def add(self, record):
        with self.lock:
            self.records.append(record)

    def write(self, path):
        with self.lock, open(path, "w", encoding="ascii") as file:
            file.writelines(json.dumps(record) + "\n" for record in self.records)

    def answered(self, since_ns=0):
        """Times at which each node answered, by the kind of statement, in order."""
        times = {}
        with self.lock:
            for record in self.records:
                if record["outcome"] == "ok" and record["begin"] >= since_ns:
                    times.setdefault(record["node"], {}).setdefault(record["op"], []).append(record["end"])
        return times


class Client:
    """One connection to one node, and the statements it makes."""

    def __init__(self, number, node, address, history, seed):
        assert number < CLIENTS_MAX
        self.number, self.node, self.address, self.history = number, node, address, history
        self.random = random.Random(f"{seed} client {number}")
        self.session, self.last_timestamp = None, 0
        self.trouble = None

    def work(self, stop):
        """Until `stop` is set."""
        try:
            while not stop.is_set():
                if self.session is None:
                    self.open()
                if self.session is None:
                    stop.wait(0.2)
                else:
                    self.next()
                    stop.wait(self.random.uniform(0, THINK_S))
        except Exception as error:  # a client that ends early would pass for one that had nothing to do
            self.trouble = f"client {self.number} failed: {error!r}"
        finally:
            self.close()

    def open(self):
        try:
            self.session = connect(self.address)
        except Exception:  # the node is away; the driver has many words for that
            self.session = None

    def close(self):
        if self.session is not None:
            self.session.cluster.shutdown()
            self.session = None

    def next(self):
        chance = self.random.random()
        if chance < 0.1:
            self.counter(self.random.randrange(COUNTERS))
        elif chance < 0.5:
            self.register(self.history.age() * REGISTERS + self.random.randrange(REGISTERS))
        else:
            self.row(self.history.age() * ROWS + self.random.randrange(ROWS))

    def row(self, key):
        self.history.objects["row"].add(key)
        chance = self.random.random()
        if chance < 0.4:
            return self.read_row(key, "QUORUM")
        if chance < 0.5:
            return self.read_row(key, "ONE")
        timestamp = self.timestamp()
        if chance < 0.55:
            text = f"DELETE FROM {KEYSPACE}.r USING TIMESTAMP {timestamp} WHERE k = {key}"
            return self.run({"op": "delete", "key": key, "timestamp": timestamp}, text)
        value = next(self.history.values)
        text = f"UPDATE {KEYSPACE}.r USING TIMESTAMP {timestamp} SET v = {value} WHERE k = {key}"
        return self.run({"op": "write", "key": key, "value": value, "timestamp": timestamp}, text)

    def timestamp(self):
        """Microseconds of the wall clock, and never that of another write."""
        micros = time.time_ns() // 1000
        self.last_timestamp = max(micros - micros % CLIENTS_MAX + self.number, self.last_timestamp + CLIENTS_MAX)
        return self.last_timestamp

    def read_row(self, key, level):
        text = f"SELECT v, writetime(v) FROM {KEYSPACE}.r WHERE k = {key}"
        return self.run({"op": "read", "key": key, "level": level}, text, LEVELS[level])

    def register(self, key):
        self.history.objects["register"].add(key)
        if self.random.random() < 0.25:
            return self.read_register(key)
        value, found = next(self.history.values), self.history.shown.get(key)
        record = {"key": key}
        if found is None or self.random.random() < 0.05:
            text = f"INSERT INTO {KEYSPACE}.l (id, v) VALUES ({key}, {value}) IF NOT EXISTS"
            record.update(op="insert", value=value)
        elif self.random.random() < 0.1:
            text = f"DELETE FROM {KEYSPACE}.l WHERE id = {key} IF EXISTS"
            record.update(op="remove")
        else:
            text = f"UPDATE {KEYSPACE}.l SET v = {value} WHERE id = {key} IF v = {found}"
            record.update(op="update", expected=found, value=value)
        serial = self.random.choice((ConsistencyLevel.SERIAL, ConsistencyLevel.LOCAL_SERIAL))
        level = self.random.choice((ConsistencyLevel.QUORUM, ConsistencyLevel.ONE, ConsistencyLevel.LOCAL_QUORUM))
        if self.run(record, text, level, serial):
            applied = record["applied"]
            self.history.shown[key] = record.get("value") if applied else record["found"]
            return True
        return False

    def read_register(self, key):
        record = {"op": "serial_read", "key": key}
        if self.run(record, f"SELECT v FROM {KEYSPACE}.l WHERE id = {key}", ConsistencyLevel.SERIAL):
            self.history.shown[key] = record["found"]
            return True
        return False

    def counter(self, key):
        self.history.objects["counter"].add(key)
        if self.random.random() < 0.35:
            return self.read_counter(key)
        return self.run({"op": "count", "key": key}, f"UPDATE {KEYSPACE}.n SET c = c + 1 WHERE id = {key}")

    def read_counter(self, key, level="QUORUM"):
        text = f"SELECT c FROM {KEYSPACE}.n WHERE id = {key}"
        return self.run({"op": "counter_read", "key": key, "level": level}, text, LEVELS[level])

    def run(self, record, text, level=ConsistencyLevel.QUORUM, serial=None):
        """Sends it once and records what came of it; whether it was answered."""
        record.update(client=self.number, node=self.node)
        statement = SimpleStatement(text, consistency_level=level, serial_consistency_level=serial)
        record["begin"] = time.monotonic_ns()
        future = None
        try:
            future = self.session.execute_async(statement)
            result = future.result()
            record["end"] = time.monotonic_ns()
            rows = list(result)
            names = result.column_names
            record["outcome"] = "ok"
        except Exception as error:  # whatever it is, it is recorded
            record["end"] = time.monotonic_ns()
            number = code(error)
            if number is None:
                record.update(outcome="none", message=repr(error))
                self.close()
            else:
                record.update(outcome="error", code=number, message=str(error))
            self.history.add(record)
            return False
        finally:
            if future is not None and len(future.attempted_hosts) > 1:
                self.trouble = f"the driver sent a statement {len(future.attempted_hosts)} times: {record}"
        self.note(record, rows, names)
        self.history.add(record)
        return True

    @staticmethod
    def note(record, rows, names):
        """What an answer has shown."""
        assert len(rows) <= 1, f"{len(rows)} rows of one key: {record}"
        op = record["op"]
        if op == "read":
            record["found"] = list(rows[0]) if rows else None
        elif op == "serial_read":
            record["found"] = rows[0][0] if rows else None
        elif op == "counter_read":
            record["found"] = rows[0][0] or 0 if rows else 0
        elif op in ("insert", "update", "remove"):
            row = dict(zip(names, rows[0]))
            record["applied"] = row["[applied]"] if "[applied]" in row else row["applied"]
            if not record["applied"]:
                record["found"] = row.get("v")


class Load:
    """Clients of every node, each in a thread."""

    def __init__(self, addresses, per_node, seed):
        self.history, self.stop = History(), threading.Event()
        self.clients = [Client(number, number % len(addresses) + 1, addresses[number % len(addresses)], self.history, seed)
                        for number in range(per_node * len(addresses))]
        self.threads = [threading.Thread(target=client.work, args=(self.stop,), daemon=True) for client in self.clients]

    def start(self):
        for thread in self.threads:
            thread.start()

    def end(self):
        """Begins nothing new, and waits for what is under way."""
        self.stop.set()
        for client, thread in zip(self.clients, self.threads):
            thread.join(REQUEST_TIMEOUT_S * 5)
            if thread.is_alive():
                client.trouble = f"client {client.number} does not end"

    def troubles(self):
        """What went wrong with the clients themselves."""
        return [client.trouble for client in self.clients if client.trouble]

    def read_back(self, deadline):
        """Everything at the strongest level, then rows at ONE through every node; what could not be read by then."""
        readers = self.clients[:len({client.node for client in self.clients})]
        rows, registers, counters = (sorted(self.history.objects[kind]) for kind in ("row", "register", "counter"))
        left = [(Client.read_row, (key, "ALL"), None) for key in rows]
        left += [(Client.read_register, (key,), None) for key in registers]
        left += [(Client.read_counter, (key, "ALL"), None) for key in counters]
        weak = [(Client.read_row, (key, "ONE"), reader) for key in rows for reader in readers]
        turn = itertools.cycle(readers)
        for method, arguments, reader in left + weak:
            while not self.read(reader or next(turn), method, arguments):
                if time.monotonic() > deadline:
                    return [f"after all faults had ended, {method.__name__}{arguments} was not answered in time"]
                time.sleep(0.1)
        for reader in readers:
            reader.close()
        return []

    @staticmethod
    def read(reader, method, arguments):
        if reader.session is None:
            reader.open()
        return reader.session is not None and method(reader, *arguments)
