"""confluent-kafka (librdkafka) for Python: groups, commits, administration, a kill -9 in the middle."""

import time

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

LIMIT_S = 40


def admin(bootstrap):
    return AdminClient({"bootstrap.servers": bootstrap})


def create(bootstrap, topic, partitions, **config):
    new = NewTopic(topic, partitions, 1, config={name.replace("_", "."): value for name, value in config.items()})
    client = admin(bootstrap)  # it has to live until the answer is there
    client.create_topics([new])[topic].result(LIMIT_S)


def produce(bootstrap, topic, count, first=0, **settings):
    """Values are numbers; keys spread them over the partitions. All are acknowledged when it returns."""
    failed = []
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, **settings})
    for number in range(first, first + count):
        producer.produce(topic, value=str(number), key=str(number % 97),
                         on_delivery=lambda error, _: failed.append(error) if error else None)
        if number % 1000 == 0:
            producer.poll(0)
    assert producer.flush(LIMIT_S) == 0
    assert not failed


def consumer(bootstrap, group, **settings):
    return Consumer({"bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest",
                     "enable.auto.commit": False, "session.timeout.ms": 6000, **settings})


def take(consumers, count):
    """Up to so many records of all of them, as (value, partition, offset)."""
    taken, end = [], time.monotonic() + LIMIT_S
    while len(taken) < count and time.monotonic() < end:
        for one in consumers:
            for message in one.consume(500, timeout=0.1):
                assert message.error() is None, message.error()
                taken.append((int(message.value()), message.partition(), message.offset()))
    return taken


@pytest.mark.parametrize("strategy", ["range", "roundrobin", "cooperative-sticky"])
def test_a_group_of_three_shares_the_partitions(bootstrap, topic, strategy):
    create(bootstrap, topic, 6)
    produce(bootstrap, topic, 6000)
    group = f"g-{topic}"
    members = [consumer(bootstrap, group, **{"partition.assignment.strategy": strategy}) for _ in range(3)]
    for member in members:
        member.subscribe([topic])
    taken = take(members, 6000)
    assert sorted(value for value, *_ in taken) == list(range(6000))
    owned = [sorted(one.partition for one in member.assignment()) for member in members]
    assert sorted(sum(owned, [])) == list(range(6)), owned
    for member in members:
        member.commit(asynchronous=False)
        member.close()
    produce(bootstrap, topic, 10, first=6000)
    later = consumer(bootstrap, group)
    later.subscribe([topic])
    assert sorted(value for value, *_ in take([later], 10)) == list(range(6000, 6010))
    later.close()


def test_a_member_that_leaves_is_taken_over(bootstrap, topic):
    create(bootstrap, topic, 4)
    first, second = (consumer(bootstrap, f"g-{topic}") for _ in range(2))
    for member in (first, second):
        member.subscribe([topic])
    produce(bootstrap, topic, 400)
    assert len(take([first, second], 400)) == 400
    first.commit(asynchronous=False)
    second.commit(asynchronous=False)
    first.close()
    end = time.monotonic() + LIMIT_S
    while len(second.assignment()) < 4 and time.monotonic() < end:
        assert second.poll(0.1) is None  # else it would be read again from what was committed
    produce(bootstrap, topic, 400, first=400)
    assert sorted(value for value, *_ in take([second], 400)) == list(range(400, 800))
    assert len(second.assignment()) == 4
    second.close()


def test_records_of_a_partition_keep_their_order(bootstrap, topic):
    create(bootstrap, topic, 3)
    produce(bootstrap, topic, 9000, **{"linger.ms": 1, "batch.num.messages": 50})
    one = consumer(bootstrap, f"g-{topic}")
    one.subscribe([topic])
    taken = take([one], 9000)
    one.close()
    for partition in range(3):
        of_partition = [(offset, value) for value, where, offset in taken if where == partition]
        assert [offset for offset, _ in of_partition] == list(range(len(of_partition)))
        assert [value for _, value in of_partition] == sorted(value for _, value in of_partition)


def test_what_was_acknowledged_and_committed_survives_a_kill(own_node, topic):
    bootstrap = f"{own_node.address}:9092"
    create(bootstrap, topic, 4)
    produce(bootstrap, topic, 5000)
    one = consumer(bootstrap, "g")
    one.subscribe([topic])
    taken = take([one], 5000)
    one.commit(asynchronous=False)
    one.close()
    own_node.kill()
    own_node.start()
    again = consumer(bootstrap, "g")
    partitions = [TopicPartition(topic, partition) for partition in range(4)]
    committed = {one.partition: one.offset for one in again.committed(partitions, LIMIT_S)}
    assert committed == {partition: sum(1 for _, where, _ in taken if where == partition) for partition in range(4)}
    ends = [again.get_watermark_offsets(one, LIMIT_S) for one in partitions]
    assert [low for low, _ in ends] == [0] * 4 and sum(high for _, high in ends) == 5000
    again.close()


def test_offsets_by_time(bootstrap, topic):
    create(bootstrap, topic, 1)
    producer = Producer({"bootstrap.servers": bootstrap})
    base = int(time.time() * 1000) - 100_000
    for number in range(100):
        producer.produce(topic, value=str(number), timestamp=base + number * 10)
        producer.flush(LIMIT_S)
    one = consumer(bootstrap, "g")
    found = one.offsets_for_times([TopicPartition(topic, 0, base + 495)], LIMIT_S)
    assert found[0].offset == 50
    one.close()


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_offsets_by_time_within_a_batch(bootstrap, topic, codec):
    create(bootstrap, topic, 1)
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 200, "compression.type": codec})
    base = int(time.time() * 1000) - 100_000
    for number in range(100):
        producer.produce(topic, value=str(number) * 50, timestamp=base + number * 10)
    producer.flush(LIMIT_S)
    one = consumer(bootstrap, "g")
    for wanted, offset in [(0, 0), (base + 495, 50), (base + 990, 99)]:
        assert one.offsets_for_times([TopicPartition(topic, 0, wanted)], LIMIT_S)[0].offset == offset
    one.close()


def test_topics_and_their_settings(bootstrap, topic):
    create(bootstrap, topic, 2, retention_ms="1000", cleanup_policy="delete")
    client = admin(bootstrap)
    resource = ConfigResource(ResourceType.TOPIC, topic)
    shown = client.describe_configs([resource])[resource].result(LIMIT_S)
    assert shown["retention.ms"].value == "1000" and not shown["retention.ms"].is_default
    assert shown["max.message.bytes"].value == "1048588" and shown["max.message.bytes"].is_default
    with pytest.raises(KafkaException):
        create(bootstrap, topic, 1)
    with pytest.raises(KafkaException):
        create(bootstrap, f"{topic}-bad", 1, retention_ms="soon")
    client.delete_topics([topic])[topic].result(LIMIT_S)
    assert topic not in client.list_topics(timeout=LIMIT_S).topics


def test_groups_are_listed_described_and_deleted(bootstrap, topic):
    create(bootstrap, topic, 1)
    produce(bootstrap, topic, 10)
    group = f"g-{topic}"
    one = consumer(bootstrap, group)
    one.subscribe([topic])
    take([one], 10)
    one.commit(asynchronous=False)
    client = admin(bootstrap)
    listed = client.list_consumer_groups().result(LIMIT_S)
    assert group in [shown.group_id for shown in listed.valid]
    described = client.describe_consumer_groups([group])[group].result(LIMIT_S)
    assert len(described.members) == 1 and described.members[0].assignment.topic_partitions[0].topic == topic
    one.close()
    client.delete_consumer_groups([group])[group].result(LIMIT_S)
    listed = client.list_consumer_groups().result(LIMIT_S)
    assert group not in [shown.group_id for shown in listed.valid]
