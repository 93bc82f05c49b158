"""The log of three nodes: each partition, group and transactional id is at one of them, and clients find it from any."""

import time
import uuid

import clusters
import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

LIMIT_S = 30
PARTITIONS = 12


@pytest.fixture
def nodes(cluster):
    three = cluster(insecure=True)
    three.form(3)
    return [f"{node.address}:9092" for node in three.nodes]


def admin(address):
    return AdminClient({"bootstrap.servers": address})


def make(address, topic, partitions=PARTITIONS):
    client = admin(address)
    for future in client.create_topics([NewTopic(topic, partitions, 1)]).values():
        future.result(LIMIT_S)


def known(address, topic):
    """The nodes that a node tells of, and the leader of each partition."""
    metadata = admin(address).list_topics(topic, LIMIT_S)
    return set(metadata.brokers), {index: one.leader for index, one in metadata.topics[topic].partitions.items()}


def produce(address, topic, values):
    failed = []
    producer = Producer({"bootstrap.servers": address, "enable.idempotence": True})
    for value in values:
        producer.produce(topic, value, key=value, on_delivery=lambda error, _: error and failed.append(error))
    assert producer.flush(LIMIT_S) == 0 and not failed, failed


def consume(address, topic, group, count):
    """So many values, read as a member of a group."""
    consumer = Consumer({"bootstrap.servers": address, "group.id": group, "auto.offset.reset": "earliest",
                         "enable.auto.commit": False, "isolation.level": "read_committed"})
    consumer.subscribe([topic])
    values = []
    try:
        deadline = time.monotonic() + LIMIT_S
        while len(values) < count and time.monotonic() < deadline:
            message = consumer.poll(0.1)
            if message is not None:
                assert message.error() is None, message.error()
                values.append(message.value().decode())
        consumer.commit(asynchronous=False)
    finally:
        consumer.close()
    return sorted(values)


def test_whatever_node_a_client_begins_with_it_finds_what_there_is(nodes):
    topic = f"t-{uuid.uuid4().hex[:8]}"
    make(nodes[0], topic)
    seen = [known(address, topic) for address in nodes]
    assert seen[0] == seen[1] == seen[2]
    brokers, leaders = seen[0]
    assert brokers == {0, 1, 2} and set(leaders) == set(range(PARTITIONS)) and set(leaders.values()) == brokers, leaders
    expected = []
    for number, address in enumerate(nodes):
        values = [f"{number}-{count:04}" for count in range(300)]
        produce(address, topic, values)
        expected += values
    # Groups are kept at all three, and each is found from each.
    for number, address in enumerate(nodes * 2):
        assert consume(address, topic, f"g-{number}", len(expected)) == sorted(expected), number
        groups = {group.id for group in admin(nodes[0]).list_groups(timeout=LIMIT_S)}
        assert f"g-{number}" in groups
    for address in nodes:
        client = admin(address)
        described = client.describe_consumer_groups(["g-0", "g-1", "g-2"])
        assert [future.result(LIMIT_S).state.name for future in described.values()] == ["EMPTY"] * 3
    client = admin(nodes[2])
    for future in client.create_partitions([NewPartitions(topic, PARTITIONS + 3)]).values():
        future.result(LIMIT_S)
    assert [len(known(address, topic)[1]) for address in nodes] == [PARTITIONS + 3] * 3


def test_a_transaction_has_partitions_and_groups_of_all_nodes(nodes):
    source, result = f"s-{uuid.uuid4().hex[:8]}", f"r-{uuid.uuid4().hex[:8]}"
    make(nodes[0], source)
    make(nodes[1], result)
    values = [f"{number:04}" for number in range(100)]
    produce(nodes[2], source, values)
    for number in range(6):
        address, group = nodes[number % 3], f"g-{number}"
        consumer = Consumer({"bootstrap.servers": address, "group.id": group, "auto.offset.reset": "earliest",
                             "enable.auto.commit": False})
        producer = Producer({"bootstrap.servers": nodes[(number + 1) % 3], "transactional.id": f"id-{number}"})
        producer.init_transactions(LIMIT_S)
        consumer.subscribe([source])
        read = 0
        producer.begin_transaction()
        while read < len(values):
            message = consumer.poll(LIMIT_S)
            assert message is not None and message.error() is None
            producer.produce(result, f"{number}-{message.value().decode()}", key=message.key())
            read += 1
        producer.send_offsets_to_transaction(consumer.position(consumer.assignment()),
                                             consumer.consumer_group_metadata(), LIMIT_S)
        commits = number % 2 == 0
        if commits:
            producer.commit_transaction(LIMIT_S)
        else:
            producer.abort_transaction(LIMIT_S)
        committed = consumer.committed([TopicPartition(source, index) for index in range(PARTITIONS)], LIMIT_S)
        assert sum(max(one.offset, 0) for one in committed) == (len(values) if commits else 0), number
        consumer.close()
    expected = sorted(f"{number}-{value}" for number in (0, 2, 4) for value in values)
    assert consume(nodes[0], result, "reader", len(expected)) == expected


def test_a_node_that_is_gone_takes_its_own_partitions_and_no_others(cluster):
    three = cluster(insecure=True)
    three.form(3)
    nodes = [f"{node.address}:9092" for node in three.nodes]
    topic = f"t-{uuid.uuid4().hex[:8]}"
    make(nodes[0], topic)
    metadata = admin(nodes[0]).list_topics(topic, LIMIT_S)
    [gone] = [broker.id for broker in metadata.brokers.values() if broker.host == three.nodes[2].address]
    three.nodes[2].kill()
    left = [index for index, one in metadata.topics[topic].partitions.items() if one.leader != gone]
    assert 0 < len(left) < PARTITIONS
    failed = []
    producer = Producer({"bootstrap.servers": nodes[0]})
    for index in left:
        producer.produce(topic, b"value", partition=index, on_delivery=lambda error, _: error and failed.append(error))
    assert producer.flush(LIMIT_S) == 0 and not failed, failed
    three.nodes[2].start()
    clusters.eventually("all partitions are written to", lambda: all_written(nodes[1], topic))


def all_written(address, topic):
    try:
        produce(address, topic, [f"{number}" for number in range(100)])
    except (AssertionError, KafkaException):
        return False
    return True
