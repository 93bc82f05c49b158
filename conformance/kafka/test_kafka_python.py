"""kafka-python: a client that shares nothing with librdkafka."""

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

LIMIT_S = 30


def test_a_producer_and_a_group(bootstrap, topic):
    producer = KafkaProducer(bootstrap_servers=bootstrap)
    sent = [producer.send(topic, value=str(number).encode(), key=b"k", headers=[("h", b"v")]) for number in range(500)]
    producer.flush(LIMIT_S)
    assert [one.get(LIMIT_S).offset for one in sent] == list(range(500))
    consumer = KafkaConsumer(topic, bootstrap_servers=bootstrap, group_id=f"g-{topic}", auto_offset_reset="earliest",
                             enable_auto_commit=False, consumer_timeout_ms=LIMIT_S * 1000)
    taken = []
    for message in consumer:
        taken.append((int(message.value), message.key, message.headers))
        if len(taken) == 500:
            break
    assert [value for value, *_ in taken] == list(range(500))
    assert taken[0][1:] == (b"k", [("h", b"v")])
    consumer.commit()
    assert consumer.committed(TopicPartition(topic, 0)) == 500
    consumer.close()
    producer.close()


def test_an_idempotent_producer_with_each_codec_of_the_library(bootstrap, topic):
    for codec in (None, "gzip"):
        producer = KafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, compression_type=codec)
        for number in range(200):
            producer.send(topic, value=str(number).encode())
        producer.flush(LIMIT_S)
        producer.close()
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, consumer_timeout_ms=LIMIT_S * 1000)
    partition = TopicPartition(topic, 0)
    consumer.assign([partition])
    consumer.seek_to_beginning(partition)
    assert consumer.end_offsets([partition])[partition] == 400
    taken = []
    for message in consumer:
        taken.append(int(message.value))
        if len(taken) == 400:
            break
    assert taken == list(range(200)) * 2
    consumer.close()
