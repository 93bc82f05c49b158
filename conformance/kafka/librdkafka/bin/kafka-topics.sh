#!/usr/bin/env python3
"""Takes the place of Kafka's script where librdkafka's tests call it: --create, --alter --partitions and --delete of one topic."""

import argparse
import sys

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

LIMIT_S = 20


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bootstrap-server", required=True)
    what = parser.add_mutually_exclusive_group(required=True)
    for word in ("--create", "--alter", "--delete"):
        what.add_argument(word, action="store_true")
    parser.add_argument("--topic", required=True)
    parser.add_argument("--partitions", type=int, default=-1)
    parser.add_argument("--replication-factor", type=int, default=-1)
    parser.add_argument("--config", action="append", default=[], metavar="NAME=VALUE")
    options = parser.parse_args()
    client = AdminClient({"bootstrap.servers": options.bootstrap_server})
    if options.create:
        config = dict(one.split("=", 1) for one in options.config)
        asked = client.create_topics([NewTopic(options.topic, options.partitions, options.replication_factor, config=config)])
    elif options.alter:
        asked = client.create_partitions([NewPartitions(options.topic, options.partitions)])
    else:
        asked = client.delete_topics([options.topic])
    try:
        asked[options.topic].result(LIMIT_S)
    except KafkaException as error:
        sys.exit(f"{options.topic}: {error}")


if __name__ == "__main__":
    main()
