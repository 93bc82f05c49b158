"""Memory: a load of ten times the budget stays within it, is shed with Overloaded, and the node recovers."""

import collections
import selectors
import socket
import struct
import threading
import time

from loader import Loader

BUDGET = 192 << 20
#: What the process needs beside its budget: code, stacks, the allocator's slack.
BESIDE = 96 << 20
VALUE_BYTES = 256 << 10
CONNECTIONS = 64
#: All of them together: ten times the budget, none of it answered before it is sent.
FRAMES = 10 * BUDGET // VALUE_BYTES // CONNECTIONS
OVERLOADED = 0x1001
STARTUP = struct.pack(">BBhBi", 4, 0, 0, 1, 22) + b"\x00\x01\x00\x0bCQL_VERSION\x00\x053.0.0"


def frame(stream, key):
    query = b"INSERT INTO loader.big (k, v) VALUES (?, ?)"
    values = struct.pack(">hBh", 1, 1, 2) + struct.pack(">ii", 4, key) + struct.pack(">i", VALUE_BYTES)
    length = 4 + len(query) + len(values) + VALUE_BYTES
    header = struct.pack(">BBhBi", 4, 0, stream, 7, length)
    return header + struct.pack(">i", len(query)) + query + values + key.to_bytes(4, "big") * (VALUE_BYTES // 4)


class Greedy:
    """One connection that sends all its frames as fast as they are taken, and counts the answers."""

    def __init__(self, address, number):
        self.socket = socket.create_connection((address, 9042), timeout=10)
        self.socket.sendall(STARTUP)
        self.socket.recv(4096)
        self.socket.setblocking(False)
        self.number, self.sent, self.rest, self.buffer = number, 0, b"", b""
        self.answers = collections.Counter()

    def send(self):
        try:
            if not self.rest and self.sent < FRAMES:
                self.rest = memoryview(frame(self.sent, self.number * FRAMES + self.sent))
                self.sent += 1
            if self.rest:
                self.rest = self.rest[self.socket.send(self.rest):]
        except BlockingIOError:
            pass

    def receive(self):
        try:
            more = self.socket.recv(65536)
        except BlockingIOError:
            return
        if not more:
            raise ConnectionError("closed by the node")
        self.buffer += more
        while len(self.buffer) >= 9:
            opcode, length = struct.unpack(">Bi", self.buffer[4:9])
            if len(self.buffer) < 9 + length:
                return
            body, self.buffer = self.buffer[9:9 + length], self.buffer[9 + length:]
            self.answers["result" if opcode == 8 else struct.unpack(">i", body[:4])[0]] += 1

    def finished(self):
        return sum(self.answers.values()) >= FRAMES


def flood(address, limit_s):
    """Drives all connections; the answers together and the connections that were closed."""
    greedy = [Greedy(address, number) for number in range(CONNECTIONS)]
    chooser = selectors.DefaultSelector()
    for each in greedy:
        chooser.register(each.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, each)
    closed, left, deadline = 0, len(greedy), time.monotonic() + limit_s
    while left and time.monotonic() < deadline:
        for key, events in chooser.select(0.5):
            each = key.data
            try:
                if events & selectors.EVENT_WRITE:
                    each.send()
                    if each.sent == FRAMES and not each.rest:
                        chooser.modify(each.socket, selectors.EVENT_READ, each)
                if events & selectors.EVENT_READ:
                    each.receive()
                done = each.finished()
            except ConnectionError:
                closed, done = closed + 1, True
            if done:
                chooser.unregister(each.socket)
                each.socket.close()
                left -= 1
    answers = sum((each.answers for each in greedy), collections.Counter())
    return answers, closed, left


def test_ten_times_the_budget(make_node):
    node = make_node(arguments=["--memory", f"{BUDGET >> 20}MiB"]).start()
    loader = Loader(node.address, 0)
    loader.connect()
    loader.prepare()
    loader.session.execute("CREATE TABLE loader.big (k int PRIMARY KEY, v blob)")
    print(f"idle: {node.memory() >> 20} MiB")
    highest, stop = [0], threading.Event()

    def watch():
        while not stop.wait(0.05) and node.running():
            highest[0] = max(highest[0], node.memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    answers, closed, unanswered = flood(node.address, 180)
    stop.set()
    watcher.join()
    print(f"answers {dict(answers)}, {closed} connections closed, highest RSS {highest[0] >> 20} MiB of {BUDGET >> 20}")
    assert node.running(), node.said()[-3000:]
    assert unanswered == 0, f"{unanswered} connections were still waiting after 180 s"
    assert highest[0] <= BUDGET + BESIDE, f"{highest[0] >> 20} MiB with a budget of {BUDGET >> 20} MiB"
    assert set(answers) <= {"result", OVERLOADED}, f"other answers than success and Overloaded: {answers}"
    assert answers[OVERLOADED] > 0, "nothing was shed: the load was too small to show anything"
    assert answers["result"] > 0, "nothing was accepted"
    deadline = time.monotonic() + 30
    while True:
        try:
            loader.session.execute("INSERT INTO loader.big (k, v) VALUES (-1, 0xca)")
            break
        except Exception:  # still overloaded: it may be for a while
            assert time.monotonic() < deadline, "it does not take a write 30 s after the load"
            time.sleep(0.2)
    assert loader.session.execute("SELECT v FROM loader.big WHERE k = -1").one().v == b"\xca"
    loader.close()
