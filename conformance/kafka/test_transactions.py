"""Transactions with confluent-kafka (librdkafka) and kafka-python: commits, aborts, consume-process-produce, fencing, a kill -9 in the middle."""

import time
import uuid

import kafka
import kafka.errors
import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

LIMIT_S = 40


def create(bootstrap, topic, partitions=1):
    client = AdminClient({"bootstrap.servers": bootstrap})
    client.create_topics([NewTopic(topic, partitions, 1)])[topic].result(LIMIT_S)


def transactional(bootstrap, name, **settings):
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": name, "linger.ms": 2, **settings})
    producer.init_transactions(LIMIT_S)
    return producer


def write(producer, topic, values, partitions=1):
    for value in values:
        producer.produce(topic, value=str(value), partition=value % partitions)


def read(bootstrap, topic, partitions=1, isolation="read_committed"):
    """Everything up to the end that such a reader sees, as numbers."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": f"r-{uuid.uuid4().hex}", "isolation.level": isolation,
                         "enable.auto.commit": False, "enable.partition.eof": True, "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(topic, index, 0) for index in range(partitions)])
    values, ended, end = [], set(), time.monotonic() + LIMIT_S
    while len(ended) < partitions and time.monotonic() < end:
        for message in consumer.consume(500, timeout=0.2):
            if message.error() is None:
                values.append(int(message.value()))
                ended.discard(message.partition())
            else:
                ended.add(message.partition())  # the end of a partition
    consumer.close()
    assert len(ended) == partitions
    return sorted(values)


def committed(bootstrap, group, topic, partitions=1):
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False})
    found = consumer.committed([TopicPartition(topic, index) for index in range(partitions)], timeout=LIMIT_S)
    consumer.close()
    return [one.offset for one in found]


def test_committed_readers_see_what_was_committed_and_nothing_else(bootstrap, topic):
    create(bootstrap, topic, 3)
    producer = transactional(bootstrap, f"x-{topic}")
    expected, everything = [], []
    for number in range(10):
        values = range(number * 100, number * 100 + 100)
        producer.begin_transaction()
        write(producer, topic, values, 3)
        everything.extend(values)
        if number % 3 == 1:
            producer.flush(LIMIT_S)
            producer.abort_transaction(LIMIT_S)
        else:
            producer.commit_transaction(LIMIT_S)
            expected.extend(values)
    assert read(bootstrap, topic, 3) == expected
    assert read(bootstrap, topic, 3, "read_uncommitted") == everything


def test_an_open_transaction_hides_what_comes_after_it(bootstrap, topic):
    create(bootstrap, topic)
    producer = transactional(bootstrap, f"x-{topic}")
    producer.begin_transaction()
    write(producer, topic, [1, 2])
    producer.flush(LIMIT_S)
    plain = Producer({"bootstrap.servers": bootstrap})
    write(plain, topic, [3])
    assert plain.flush(LIMIT_S) == 0
    assert read(bootstrap, topic) == []
    assert read(bootstrap, topic, isolation="read_uncommitted") == [1, 2, 3]
    producer.commit_transaction(LIMIT_S)
    assert read(bootstrap, topic) == [1, 2, 3]


def test_a_second_instance_fences_the_first(bootstrap, topic):
    create(bootstrap, topic)
    name = f"x-{topic}"
    first = transactional(bootstrap, name)
    first.begin_transaction()
    write(first, topic, [1])
    first.flush(LIMIT_S)
    second = transactional(bootstrap, name)
    second.begin_transaction()
    write(second, topic, [2])
    second.commit_transaction(LIMIT_S)
    with pytest.raises(KafkaException) as refused:
        write(first, topic, [3])
        first.commit_transaction(LIMIT_S)
    assert refused.value.args[0].fatal()
    assert read(bootstrap, topic) == [2]


def test_a_transaction_that_takes_too_long_is_aborted(bootstrap, topic):
    create(bootstrap, topic)
    producer = transactional(bootstrap, f"x-{topic}", **{"transaction.timeout.ms": 2000, "message.timeout.ms": 2000})
    producer.begin_transaction()
    write(producer, topic, [1])
    producer.flush(LIMIT_S)
    end = time.monotonic() + LIMIT_S
    assert read(bootstrap, topic) == []
    plain = Producer({"bootstrap.servers": bootstrap})
    write(plain, topic, [2])
    assert plain.flush(LIMIT_S) == 0
    while read(bootstrap, topic) != [2]:
        assert time.monotonic() < end, "the transaction stays open"
    with pytest.raises(KafkaException):
        write(producer, topic, [3])
        producer.commit_transaction(LIMIT_S)
    assert read(bootstrap, topic) == [2]


@pytest.mark.parametrize("aborts", [False, True])
def test_consume_process_produce_moves_offsets_with_the_records(bootstrap, topic, aborts):
    """Numbers are doubled; every second batch is aborted and done again, or all are committed."""
    out, group = f"{topic}-out", f"g-{topic}"
    create(bootstrap, topic, 2)
    create(bootstrap, out, 2)
    plain = Producer({"bootstrap.servers": bootstrap})
    write(plain, topic, range(400), 2)
    assert plain.flush(LIMIT_S) == 0
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest",
                         "enable.auto.commit": False, "isolation.level": "read_committed", "session.timeout.ms": 6000})
    consumer.subscribe([topic])
    producer = transactional(bootstrap, f"x-{topic}")
    done, rounds, end = 0, 0, time.monotonic() + LIMIT_S
    while done < 400 and time.monotonic() < end:
        messages = consumer.consume(50, timeout=1)
        if not messages:
            continue
        assert all(message.error() is None for message in messages)
        producer.begin_transaction()
        for message in messages:
            producer.produce(out, value=str(int(message.value()) * 2), partition=message.partition())
        position = consumer.position(consumer.assignment())
        producer.send_offsets_to_transaction(position, consumer.consumer_group_metadata(), LIMIT_S)
        rounds += 1
        if aborts and rounds % 2 == 1:
            producer.abort_transaction(LIMIT_S)
            for one in {message.partition() for message in messages}:
                first = min(message.offset() for message in messages if message.partition() == one)
                consumer.seek(TopicPartition(topic, one, first))
        else:
            producer.commit_transaction(LIMIT_S)
            done += len(messages)
    assert done == 400
    consumer.close()
    assert read(bootstrap, out, 2) == [number * 2 for number in range(400)]
    assert committed(bootstrap, group, topic, 2) == [200, 200]


def test_what_was_committed_survives_a_kill(own_node, topic):
    bootstrap = f"{own_node.address}:9092"
    create(bootstrap, topic, 3)
    producer = transactional(bootstrap, f"x-{topic}")
    for number in range(5):
        producer.begin_transaction()
        write(producer, topic, range(number * 10, number * 10 + 10), 3)
        producer.commit_transaction(LIMIT_S)
    producer.begin_transaction()
    write(producer, topic, range(1000, 1010), 3)
    producer.flush(LIMIT_S)
    own_node.kill()
    own_node.start()
    # The one that was open goes on, or is aborted by who has the id next.
    later = transactional(bootstrap, f"x-{topic}")
    later.begin_transaction()
    write(later, topic, [50, 51], 3)
    later.commit_transaction(LIMIT_S)
    assert read(bootstrap, topic, 3) == list(range(52))


def test_kafka_python_commits_and_aborts(bootstrap, topic):
    create(bootstrap, topic)
    producer = kafka.KafkaProducer(bootstrap_servers=bootstrap, transactional_id=f"x-{topic}")
    producer.init_transactions()
    for commit in [True, False, True]:
        producer.begin_transaction()
        for value in [b"1" if commit else b"2", b"3"]:
            producer.send(topic, value=value, partition=0)
        if commit:
            producer.commit_transaction()
        else:
            producer.flush(LIMIT_S)
            producer.abort_transaction()
    producer.close(LIMIT_S)
    assert read(bootstrap, topic) == [1, 1, 3, 3]
    consumer = kafka.KafkaConsumer(topic, bootstrap_servers=bootstrap, isolation_level="read_committed",
                                   auto_offset_reset="earliest", consumer_timeout_ms=5000, group_id=None)
    assert sorted(int(record.value) for record in consumer) == [1, 1, 3, 3]
    consumer.close()


def test_kafka_python_moves_offsets_with_a_transaction(bootstrap, topic):
    create(bootstrap, topic)
    group = f"g-{topic}"
    producer = kafka.KafkaProducer(bootstrap_servers=bootstrap, transactional_id=f"x-{topic}")
    producer.init_transactions()
    for offset, commit in [(1, True), (2, False)]:
        producer.begin_transaction()
        producer.send(topic, value=b"1", partition=0)
        offsets = {kafka.TopicPartition(topic, 0): kafka.structs.OffsetAndMetadata(offset, "", -1)}
        producer.send_offsets_to_transaction(offsets, group)
        if commit:
            producer.commit_transaction()
        else:
            producer.abort_transaction()
    producer.close(LIMIT_S)
    assert committed(bootstrap, group, topic) == [1]


def test_kafka_python_is_fenced(bootstrap, topic):
    create(bootstrap, topic)
    make = lambda: kafka.KafkaProducer(bootstrap_servers=bootstrap, transactional_id=f"x-{topic}")  # noqa: E731
    first, second = make(), make()
    first.init_transactions()
    second.init_transactions()
    first.begin_transaction()
    with pytest.raises(kafka.errors.KafkaError):
        first.send(topic, value=b"1", partition=0).get(LIMIT_S)
        first.commit_transaction()
    second.begin_transaction()
    second.send(topic, value=b"2", partition=0)
    second.commit_transaction()
    assert read(bootstrap, topic) == [2]
    for producer in (first, second):
        producer.close(1)
