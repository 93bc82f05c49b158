"""Fetch sessions (KIP-227) with a client that has them: kafka-python. They span the shards of a node, and cost what changes."""

import subprocess
import time
import urllib.request

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

import holon_node

PARTITIONS = 40
LIMIT_S = 30


def figures(node):
    """The node's metrics by name, added up over labels."""
    with urllib.request.urlopen(f"http://{node.address}:{holon_node.CONSOLE_PORT}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    sums = {}
    for line in lines:
        if line.startswith("holon_") and " " in line:
            name, value = line.split("{")[0].split(" ")[0], line.rsplit(" ", 1)[1]
            sums[name] = sums.get(name, 0) + float(value)
    return sums


def polled(consumer, count):
    """So many records, or what came in time."""
    deadline, records = time.monotonic() + LIMIT_S, []
    while len(records) < count and time.monotonic() < deadline:
        for of_partition in consumer.poll(timeout_ms=200).values():
            records.extend(of_partition)
    return records


def test_an_idle_partition_costs_nothing_and_a_moved_one_is_told(own_node):
    address = f"{own_node.address}:9092"
    create = [own_node.program, "topic", "create", "--kafka-address", address, "t", "-p", str(PARTITIONS)]
    subprocess.run(create, check=True, env=holon_node.plain_environment(), stdout=subprocess.DEVNULL, timeout=LIMIT_S)
    consumer = KafkaConsumer(bootstrap_servers=address, auto_offset_reset="earliest", group_id=None)
    producer = KafkaProducer(bootstrap_servers=address, acks="all")
    consumer.assign([TopicPartition("t", number) for number in range(PARTITIONS)])
    assert not polled_for(consumer, 3)
    before = figures(own_node)
    assert before["holon_kafka_fetch_sessions"] == 1
    assert before["holon_kafka_fetch_session_partitions"] == PARTITIONS
    assert before["holon_kafka_fetch_watched_partitions"] == PARTITIONS
    assert not polled_for(consumer, 5)
    idle = figures(own_node)
    fetches = idle["holon_kafka_requests_total"] - before["holon_kafka_requests_total"]
    looks = idle["holon_kafka_fetch_looks_total"] - before["holon_kafka_fetch_looks_total"]
    assert fetches >= 5 and looks == 0, (fetches, looks)
    # Partitions of all shards: whichever moves is told, at once.
    for number in range(PARTITIONS):
        producer.send("t", b"%d" % number, partition=number).get(LIMIT_S)
        began = time.monotonic()
        records = polled(consumer, 1)
        assert [(record.partition, record.value) for record in records] == [(number, b"%d" % number)]
        assert time.monotonic() - began < 5
    after = figures(own_node)
    looks = after["holon_kafka_fetch_looks_total"] - idle["holon_kafka_fetch_looks_total"]
    assert looks <= 4 * PARTITIONS, f"{looks} looks for {PARTITIONS} records"
    assert after["holon_kafka_fetch_sessions"] == 1 and after.get("holon_kafka_errors_total", 0) == before.get("holon_kafka_errors_total", 0)
    consumer.close()
    producer.close()


def polled_for(consumer, seconds):
    """What came in so many seconds."""
    deadline, records = time.monotonic() + seconds, []
    while time.monotonic() < deadline:
        for of_partition in consumer.poll(timeout_ms=200).values():
            records.extend(of_partition)
    return records
