"""`holon topic` and `holon group`: what they write, other clients read, and the other way round."""

import json
import subprocess
import threading
import time

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

import holon_node

LIMIT_S = 60


class Holon:
    """The program, asked about the broker under test."""

    def __init__(self, bootstrap):
        self.program, self.bootstrap = holon_node.binary(), bootstrap

    def command(self, *words):
        return [self.program, *words[:2], "--kafka-address", self.bootstrap, *words[2:]]

    def __call__(self, *words, text=None):
        done = subprocess.run(self.command(*words), input=text, capture_output=True, timeout=LIMIT_S, check=False,
                              env=holon_node.plain_environment())
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def json(self, *words, text=None):
        return json.loads(self(*words, "--format", "json", text=text))

    def refused(self, *words, text=None):
        """The one line that says why."""
        done = subprocess.run(self.command(*words), input=text, capture_output=True, timeout=LIMIT_S, check=False,
                              env=holon_node.plain_environment())
        assert done.returncode != 0
        line = done.stderr.decode().strip()
        assert line.startswith("holon: ") and "\n" not in line, line
        return line


@pytest.fixture
def holon(bootstrap):
    return Holon(bootstrap)


def lines_of(text):
    return text.splitlines()


def joined(bootstrap, topic, group):
    """A consumer that has partitions of the topic."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest",
                         "enable.auto.commit": False, "session.timeout.ms": 6000})
    consumer.subscribe([topic])
    deadline = time.monotonic() + LIMIT_S
    while not consumer.assignment():
        assert time.monotonic() < deadline, "no assignment"
        consumer.poll(0.2)
    return consumer


def test_a_topic_through_its_life(holon, topic):
    assert "3 partitions" in holon("topic", "create", topic, "-p", "3", "--set", "retention.ms=86400000")
    assert f"topic describe {topic}" in holon.refused("topic", "create", topic)
    listed = {row["topic"]: row for row in holon.json("topic", "list")}
    assert listed[topic] == {"topic": topic, "partitions": 3, "records": 0}
    shown = holon.json("topic", "describe", topic)
    assert shown["settings"] == {"retention.ms": "86400000"}
    assert [part["partition"] for part in shown["partitions"]] == [0, 1, 2]
    holon("topic", "alter", topic, "--set", "max.message.bytes=2000", "--unset", "retention.ms")
    assert holon.json("topic", "describe", topic)["settings"] == {"max.message.bytes": "2000"}
    assert "nothing to change" in holon.refused("topic", "alter", topic)
    assert f"topic {topic} has 6 partitions" in holon("topic", "alter", topic, "--partitions", "6")
    assert "would not be an increase" in holon.refused("topic", "alter", topic, "--partitions", "1")
    assert "shows all settings" in holon.refused("topic", "alter", topic, "--set", "retention.ms=soon")
    assert "max.message.bytes" in holon("topic", "describe", topic)
    holon("topic", "delete", topic)
    assert "holon topic list" in holon.refused("topic", "describe", topic)
    assert "holon topic create" in holon.refused("topic", "produce", topic, text=b"x\n")


def test_lines_go_in_and_come_out(holon, topic):
    holon("topic", "create", topic)
    lines = [f"line {number}" for number in range(12_000)]
    holon("topic", "produce", topic, text="\n".join(lines).encode())
    assert lines_of(holon("topic", "consume", topic, "-e")) == lines
    assert lines_of(holon("topic", "consume", topic, "-e", "--from", "-3")) == lines[-3:]
    assert lines_of(holon("topic", "consume", topic, "-n", "2", "--from", "11990")) == lines[11_990:11_992]
    assert lines_of(holon("topic", "consume", topic, "-e", "--from", "end")) == []
    assert lines_of(holon("topic", "consume", topic, "-e", "--from", "1h")) == lines
    assert lines_of(holon("topic", "consume", topic, "-e", "--from", "2100-01-01")) == []
    shown = lines_of(holon("topic", "consume", topic, "-n", "1", "--offsets"))[0].split()
    assert shown[:2] == ["0", "0"] and shown[3:] == ["line", "0"]
    assert "no place" in holon.refused("topic", "consume", topic, "--from", "somewhere")
    assert "they are 0 to 0" in holon.refused("topic", "consume", topic, "--partition", "3")


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_what_others_packed_is_unpacked(holon, bootstrap, topic, codec):
    holon("topic", "create", topic)
    producer = Producer({"bootstrap.servers": bootstrap, "compression.type": codec, "linger.ms": 50})
    values = [f"{number} " + "x" * (number % 100) for number in range(2000)]
    for number, value in enumerate(values):
        producer.produce(topic, value, key=str(number), headers=[("h", b"\xff\x00")])
    assert producer.flush(LIMIT_S) == 0
    assert lines_of(holon("topic", "consume", topic, "-e")) == values
    rows = [json.loads(line) for line in lines_of(holon("topic", "consume", topic, "-n", "3", "--format", "json"))]
    assert [(row["offset"], row["key"], row["value"]) for row in rows] == [(n, str(n), values[n]) for n in range(3)]
    assert rows[0]["headers"] == [["h", {"hex": "ff00"}]] and rows[0]["time"].endswith("Z")


def test_keys_go_where_the_java_client_puts_them(holon, bootstrap, topic):
    holon("topic", "create", topic, "-p", "4")
    names = [f"key-{number}" for number in range(200)]
    holon("topic", "produce", topic, "-k", ":", text="".join(f"{name}:ours\n" for name in names).encode())
    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random"})
    for name in names:
        producer.produce(topic, "theirs", key=name)
    assert producer.flush(LIMIT_S) == 0
    rows = [json.loads(line) for line in lines_of(holon("topic", "consume", topic, "-e", "--format", "json"))]
    places = {kind: {row["key"]: row["partition"] for row in rows if row["value"] == kind} for kind in ("ours", "theirs")}
    assert places["ours"] == places["theirs"] and len(places["ours"]) == 200
    assert len(set(places["ours"].values())) == 4
    assert sorted(lines_of(holon("topic", "consume", topic, "-e", "-k", "=")))[0] == "key-0=ours"
    assert "line 2 has no" in holon.refused("topic", "produce", topic, "-k", ":", text=b"a:b\nc\n")


def test_what_is_typed_goes_out_at_once_and_comes_as_it_comes(holon, topic):
    holon("topic", "create", topic)
    reader = subprocess.Popen(holon.command("topic", "consume", topic), stdout=subprocess.PIPE, text=True,
                              env=holon_node.plain_environment())
    writer = subprocess.Popen(holon.command("topic", "produce", topic), stdin=subprocess.PIPE, text=True,
                              env=holon_node.plain_environment())
    limit = threading.Timer(LIMIT_S, lambda: (reader.kill(), writer.kill()))
    limit.start()
    try:
        for word in ("one", "two"):
            writer.stdin.write(word + "\n")
            writer.stdin.flush()
            assert reader.stdout.readline() == word + "\n"
        writer.stdin.close()
        assert writer.wait(LIMIT_S) == 0
    finally:
        limit.cancel()
        for process in (reader, writer):
            process.kill()
            process.wait()


def test_a_group_is_shown_reset_and_deleted(holon, bootstrap, topic):
    group = f"g-{topic}"
    holon("topic", "create", topic, "-p", "2")
    holon("topic", "produce", topic, "--partition", "0", text=b"a\n" * 10)
    holon("topic", "produce", topic, "--partition", "1", text=b"b\n" * 5)
    assert "holon group list" in holon.refused("group", "describe", group)
    consumer = joined(bootstrap, topic, group)
    consumer.commit(offsets=[TopicPartition(topic, 0, 4), TopicPartition(topic, 1, 5)], asynchronous=False)
    shown = holon.json("group", "describe", group)
    assert (shown["state"], len(shown["members"])) == ("Stable", 1)
    assert [part["lag"] for part in shown["partitions"]] == [6, 0]
    assert {part["member"] for part in shown["partitions"]} == {shown["members"][0]["member"]}
    assert "stop them first" in holon.refused("group", "reset", group, "--topic", topic, "--to", "beginning")
    assert "stop them first" in holon.refused("group", "delete", group)
    consumer.close()
    holon("topic", "produce", topic, "--partition", "0", text=b"c\n" * 3)
    holon("group", "reset", group, "--topic", topic, "--to", "end")
    holon("topic", "produce", topic, "--partition", "0", text=b"d\n" * 2)
    shown = holon.json("group", "describe", group)
    assert [(part["partition"], part["committed_offset"], part["lag"]) for part in shown["partitions"]] == [
        (0, 13, 2), (1, 5, 0)]
    assert "2 records behind" in holon("group", "describe", group)
    dry = holon.json("group", "reset", group, "--topic", topic, "--to", "-4", "--dry-run")
    assert [(part["before"], part["offset"]) for part in dry["partitions"]] == [(13, 11), (5, 1)]
    assert lines_of(holon("topic", "consume", topic, "-e", "--group", group)) == ["d", "d"]
    assert {part["lag"] for part in holon.json("group", "describe", group)["partitions"]} == {0}
    holon("group", "reset", group, "--topic", topic, "--to", "-1")
    assert sorted(lines_of(holon("topic", "consume", topic, "-e", "--group", group))) == ["b", "d"]
    assert group in {row["group"] for row in holon.json("group", "list")}
    holon("group", "delete", group)
    assert group not in holon("group", "list")
    assert "holon group list" in holon.refused("group", "delete", group)


def test_who_does_not_answer_is_named_with_the_way_out(topic):
    nobody = Holon("127.0.0.1:1")
    line = nobody.refused("topic", "list")
    assert "127.0.0.1:1" in line and "--kafka-address" in line


def test_figures_are_in_the_metrics_and_the_status(holon, node, topic):
    if node is None:
        pytest.skip("another broker has figures of its own")
    import urllib.request

    group = f"g-{topic}"
    holon("topic", "create", topic, "-p", "2")
    holon("topic", "produce", topic, text=b"a\n" * 7)
    holon("topic", "consume", topic, "-n", "3", "--group", group)
    wanted = f'holon_log_group_lag{{group="{group}",topic="{topic}",partition="0"}}'
    deadline = time.monotonic() + 40
    while True:
        with urllib.request.urlopen(f"http://{node.address}:{holon_node.CONSOLE_PORT}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        rows = [line for line in text.splitlines() if line.startswith("holon_log_group_lag{") and f'group="{group}"' in line]
        if rows or time.monotonic() > deadline:
            break
        time.sleep(1)
    assert sum(float(row.rsplit(" ", 1)[1]) for row in rows) == 4, (wanted, rows)
    for name in ('holon_kafka_requests_total{api="Produce"}', "holon_kafka_connections", "holon_log_batches_total",
                 "holon_kafka_received_bytes_total", "holon_log_partitions", 'holon_log_groups{state="Empty"}'):
        found = [line for line in text.splitlines() if line.startswith(name)]
        assert found and sum(float(line.rsplit(" ", 1)[1]) for line in found) > 0, name
    status = subprocess.run(node.question("status", "--format", "json"), capture_output=True, text=True, timeout=LIMIT_S,
                            check=True)
    holdings = {row["name"]: row for row in json.loads(status.stdout)["holdings"] if row["service"] == "log"}
    assert (holdings[topic]["tablets"], holdings[topic]["rows"]) == (2, 7)
    assert holdings[topic]["writes"]["count"] > 0 and "__holon_groups" not in holdings
