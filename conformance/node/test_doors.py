"""Doors: garbage on each, slow and greedy clients, the console's pages, and the status command."""

import json
import random
import re
import socket
import struct
import subprocess
import time
import urllib.error
import urllib.request

import holon_node
import pytest
from loader import Loader

DOORS = {"cql": holon_node.CQL_PORT, "console": holon_node.CONSOLE_PORT}
CHANCE = random.Random(7)
STARTUP = struct.pack(">BBhBi", 4, 0, 0, 1, 22) + b"\x00\x01\x00\x0bCQL_VERSION\x00\x053.0.0"
GARBAGE = {
    "nothing": b"",
    "one byte": b"\x04",
    "zeros": b"\x00" * 4096,
    "ones": b"\xff" * 4096,
    "random": CHANCE.randbytes(65536),
    "tls": bytes.fromhex("16030100c8010000c40303") + CHANCE.randbytes(200),
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "broken http": b"GET \x00\xff / HTTP/9.9\r\n: :\r\n\r\n",
    "endless header": b"GET / HTTP/1.1\r\nX: " + b"a" * 2_000_000,
    "many headers": b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 50_000,
    "huge body": b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * 100_000,
    "huge frame": struct.pack(">BBhBi", 4, 0, 0, 7, 0x7FFFFFFF) + b"x" * 10_000,
    "negative frame": struct.pack(">BBhBi", 4, 0, 0, 7, -5),
    "compressed without asking": struct.pack(">BBhBi", 4, 1, 0, 7, 100) + CHANCE.randbytes(100),
    "startup, then random": STARTUP + CHANCE.randbytes(65536),
    "startup, then a cut query": STARTUP + struct.pack(">BBhBi", 4, 0, 1, 7, 50) + b"\x00\x00\x7f\xff" + b"SELECT",
    "startup, then counts that lie": STARTUP + struct.pack(">BBhBi", 4, 0, 1, 13, 9) + b"\x7f\xff\xff\xff\x7f\x7f\x7f\x7f\x7f",
    "v5 segment of garbage": STARTUP.replace(b"\x04", b"\x05", 1) + CHANCE.randbytes(300),
    "kafka": struct.pack(">ihhi", 20, 18, 0, 1) + b"\x00\x04test" + b"\x00" * 8,
}


def throw(address, port, data, limit_s=3):
    """Sends bytes and reads whatever comes back until the other side closes or nothing more comes."""
    answer = b""
    try:
        with socket.create_connection((address, port), timeout=limit_s) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while len(answer) < 1_000_000 and (more := connection.recv(65536)):
                answer += more
    except OSError:
        pass  # closed on us, which is an answer
    return answer


def works(node):
    """Whether both doors still serve."""
    loader = Loader(node.address, 0)
    loader.connect()
    assert loader.session.execute("SELECT key FROM system.local").one().key == "local"
    loader.close()
    assert fetch(node, "/healthz")[0] == 200


def fetch(node, path, method="GET"):
    request = urllib.request.Request(f"http://{node.address}:{holon_node.CONSOLE_PORT}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return response.status, response.headers.get("content-type", ""), response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get("content-type", ""), error.read().decode()


@pytest.fixture(scope="module")
def shared():
    with holon_node.Node() as node:
        yield node


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage(shared, door, kind):
    throw(shared.address, DOORS[door], GARBAGE[kind])
    assert shared.running(), f"{kind} on {door} ended the node:\n{shared.said()[-3000:]}"
    works(shared)


def test_no_panic_was_logged(shared):
    assert "panicked" not in shared.said()


@pytest.mark.parametrize("kind", ["zeros", "tls", "http"])
def test_garbage_on_the_cql_door_has_a_clear_answer(shared, kind):
    answer = throw(shared.address, holon_node.CQL_PORT, GARBAGE[kind])
    assert answer[:1] and answer[4] == 0x00, f"no ERROR frame: {answer[:80]!r}"
    assert b"rotocol version" in answer


def test_random_frames_never_end_the_node(shared):
    chance = random.Random(11)
    for _ in range(300):
        opcode = chance.choice([1, 5, 7, 9, 10, 11, 13, 15, chance.randrange(256)])
        body = chance.randbytes(chance.randrange(200))
        frame = struct.pack(">BBhBi", 4, chance.choice([0, 0, 0, chance.randrange(256)]), 1, opcode, len(body)) + body
        throw(shared.address, holon_node.CQL_PORT, STARTUP + frame, limit_s=2)
    assert shared.running()
    works(shared)


def test_half_a_request_from_many_clients(shared):
    held = [socket.create_connection((shared.address, holon_node.CQL_PORT), timeout=5) for _ in range(300)]
    for connection in held:
        connection.sendall(STARTUP[:12])
    works(shared)
    for connection in held:
        connection.close()


def test_client_that_does_not_read(shared):
    """Replies that nobody takes do not fill the memory."""
    query = b"SELECT * FROM system_schema.columns"
    body = struct.pack(">i", len(query)) + query + struct.pack(">hB", 1, 0)
    frame = struct.pack(">BBhBi", 4, 0, 1, 7, len(body)) + body
    before = shared.memory()
    with socket.create_connection((shared.address, holon_node.CQL_PORT), timeout=2) as connection:
        connection.sendall(STARTUP)
        sent = 0
        try:
            while sent < 20_000:
                connection.sendall(frame * 100)
                sent += 100
        except TimeoutError:
            pass  # the node stopped reading: that is the point
        time.sleep(0.5)
        grown = shared.memory() - before
    assert grown < 256 << 20, f"{grown >> 20} MiB after {sent} unread replies"
    works(shared)


def test_health_and_readiness(shared):
    assert fetch(shared, "/healthz")[0] == 200
    assert fetch(shared, "/readyz")[0] == 200
    assert fetch(shared, "/no/such/page")[0] == 404
    assert fetch(shared, "/healthz", method="DELETE")[0] in (404, 405)


def test_status_page(shared):
    status, kind, page = fetch(shared, "/")
    assert status == 200 and kind.startswith("text/html")
    assert "<title>" in page
    sources = re.findall(r"fetch\([\"'`](/[\w./-]+)", page)
    assert sources, "the page asks for nothing: what does it show?"
    status, kind, text = fetch(shared, sources[0])
    assert status == 200 and "json" in kind
    assert f"{shared.address}:{holon_node.CQL_PORT}" in json.dumps(json.loads(text))
    assert not re.search(r"(src|href)=[\"']https?://", page), "the page loads something from elsewhere"


METRIC = re.compile(r"^[a-zA-Z_:][a-zA-Z0-9_:]*(\{[^}]*\})? [-+0-9.eEInfNa]+( \d+)?$")


def test_metrics_follow_the_conventions(shared):
    status, kind, text = fetch(shared, "/metrics")
    assert status == 200 and ("text/plain" in kind or "openmetrics" in kind)
    typed = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, metric_type = line.split()
            typed[name] = metric_type
        elif line and not line.startswith("#"):
            assert METRIC.match(line), line
    ours = {name: metric_type for name, metric_type in typed.items() if name.startswith("holon_")}
    assert len(ours) >= 5, f"only {sorted(ours)}"
    sampled = {re.match(r"[a-zA-Z_:][a-zA-Z0-9_:]*", line)[0] for line in text.splitlines() if line and line[0] != "#"}
    for name, metric_type in ours.items():
        if metric_type == "counter":
            assert name.removesuffix("_total") + "_total" in sampled, f"the counter {name} lacks _total"
        assert not re.search(r"_(ms|us|millis|mb|kb)(_total)?$", name), f"{name}: base units are seconds and bytes"


def test_metrics_move(node):
    def requests():
        lines = [line for line in fetch(node, "/metrics")[2].splitlines()
                 if line.startswith("holon_cql_request_duration_seconds_count")]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    before = requests()
    loader = Loader(node.address, 0)
    loader.connect()
    for _ in range(100):
        loader.session.execute("SELECT key FROM system.local")
    loader.close()
    assert requests() >= before + 100


def status(node, *words):
    return subprocess.run([holon_node.binary(), "status", "--data-dir", str(node.data_dir), *words], capture_output=True,
                          text=True, timeout=10, check=False,
                          env=holon_node.plain_environment())


def test_status_command(shared):
    done = status(shared)
    assert done.returncode == 0, done.stderr
    assert f"{shared.address}:{holon_node.CQL_PORT}" in done.stdout
    parsed = json.loads(status(shared, "--format", "json").stdout)
    assert f"{shared.address}:{holon_node.CQL_PORT}" in json.dumps(parsed)


def test_status_of_a_node_that_is_not_there(tmp_path, make_node):
    node = make_node(data_dir=tmp_path)
    done = status(node)
    assert done.returncode != 0
    assert str(tmp_path) in done.stderr and "panicked" not in done.stderr
