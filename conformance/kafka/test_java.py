"""Kafka's own console tools, version 4.1, which stand on the Java client, with their defaults."""

import json
import pathlib
import re
import subprocess

import pytest

from installed import installed

HERE = pathlib.Path(__file__).resolve().parent
LIMIT_S = 60
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
#: What Kafka's scripts of these names run.
TOOLS = {
    "topics": "org.apache.kafka.tools.TopicCommand",
    "console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "configs": "kafka.admin.ConfigCommand",
    "get-offsets": "org.apache.kafka.tools.GetOffsetShell",
    "log-dirs": "org.apache.kafka.tools.LogDirsCommand",
    "leader-election": "org.apache.kafka.tools.LeaderElectionCommand",
    "reassign-partitions": "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
    "transactions": "org.apache.kafka.tools.TransactionsCommand",
    "producer-perf-test": "org.apache.kafka.tools.ProducerPerformance",
    "consumer-perf-test": "org.apache.kafka.tools.ConsumerPerformance",
}
#: A quick start counts more here than a quick run.
JAVA = ["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Xmx256m"]


@pytest.fixture(scope="module")
def tool(bootstrap):
    """Runs a tool and gives what it printed."""
    folder = installed("java", ("java", "mvn"), (HERE / "java" / "pom.xml",),
                       ("mvn", "-q", "-B", COPY, "-DoutputDirectory=jars", "-DincludeScope=runtime"))

    def run(name, *arguments, text=None):
        command = [*JAVA, "-cp", f"{folder / 'jars'}/*", TOOLS[name]]
        if name == "producer-perf-test":
            command += [*arguments, f"bootstrap.servers={bootstrap}"]
        else:
            command += ["--bootstrap-server", bootstrap, *arguments]
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        assert done.returncode == 0, f"{name}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout
    return run


def test_a_topic_from_its_making_to_its_end(tool, topic):
    tool("topics", "--create", "--topic", topic, "--partitions", "3", "--config", "retention.ms=60000")
    shown = tool("topics", "--describe", "--topic", topic)
    assert re.search(rf"Topic: {topic}\s+TopicId: \S+\s+PartitionCount: 3\s+ReplicationFactor: 1\s+Configs: \S*retention.ms=60000", shown)
    assert len(re.findall(r"Leader: \d+\s+Replicas: \d+\s+Isr: \d+", shown)) == 3
    tool("configs", "--alter", "--entity-type", "topics", "--entity-name", topic, "--add-config", "retention.ms=70000")
    tool("configs", "--alter", "--entity-type", "topics", "--entity-name", topic, "--add-config", "max.message.bytes=2000")
    tool("configs", "--alter", "--entity-type", "topics", "--entity-name", topic, "--delete-config", "retention.ms")
    shown = tool("configs", "--describe", "--entity-type", "topics", "--entity-name", topic)
    assert "max.message.bytes=2000" in shown and "retention.ms" not in shown
    tool("topics", "--alter", "--topic", topic, "--partitions", "5")
    assert "PartitionCount: 5" in tool("topics", "--describe", "--topic", topic)
    assert topic in tool("topics", "--list").splitlines()
    tool("topics", "--delete", "--topic", topic)
    assert topic not in tool("topics", "--list").splitlines()


def test_what_is_typed_is_read_by_a_group(tool, topic):
    lines = [f"line {number}" for number in range(500)]
    tool("console-producer", "--topic", topic, text="\n".join(lines) + "\n")
    assert tool("get-offsets", "--topic", topic).split() == [f"{topic}:0:500"]
    group = f"g-{topic}"
    read = tool("console-consumer", "--topic", topic, "--from-beginning", "--group", group, "--max-messages", "500",
                "--timeout-ms", "30000")
    assert read.splitlines() == lines
    shown = tool("consumer-groups", "--describe", "--group", group)
    assert re.search(rf"{group}\s+{topic}\s+0\s+500\s+500\s+0\s", shown), shown
    tool("consumer-groups", "--reset-offsets", "--group", group, "--topic", topic, "--to-offset", "490", "--execute")
    read = tool("console-consumer", "--topic", topic, "--group", group, "--max-messages", "10", "--timeout-ms", "30000")
    assert read.splitlines() == lines[490:]
    assert group in tool("consumer-groups", "--list").split()
    tool("consumer-groups", "--delete", "--group", group)
    assert group not in tool("consumer-groups", "--list").split()


def test_keys_and_headers(tool, topic):
    tool("console-producer", "--topic", topic, "--property", "parse.key=true", "--property", "parse.headers=true",
         text="a:1,b:2\tkey\tvalue\n")
    read = tool("console-consumer", "--topic", topic, "--from-beginning", "--max-messages", "1", "--timeout-ms", "30000",
                "--property", "print.key=true", "--property", "print.headers=true", "--property", "print.offset=true")
    assert read.splitlines() == ["Offset:0\ta:1,b:2\tkey\tvalue"]


@pytest.mark.parametrize("codec", ["none", "lz4", "zstd"])
def test_the_performance_tools(tool, topic, codec):
    shown = tool("producer-perf-test", "--topic", topic, "--num-records", "20000", "--record-size", "100", "--throughput", "-1",
                 "--producer-props", f"compression.type={codec}")
    assert "20000 records sent" in shown
    if codec in ("none", "zstd"):
        shown = tool("consumer-perf-test", "--topic", topic, "--messages", "20000", "--timeout", "30000")
        assert re.search(r", 20000, ", shown), shown


def test_what_administrators_ask_about_partitions(tool, topic, tmp_path):
    tool("topics", "--create", "--topic", topic, "--partitions", "2")
    # A producer of Kafka's is idempotent by default, so the partition knows it.
    tool("console-producer", "--topic", topic, text="a\nb\nc\n")
    told = json.loads(tool("log-dirs", "--describe", "--topic-list", topic).splitlines()[-1])
    [broker] = told["brokers"]
    [directory] = broker["logDirs"]
    sizes = {one["partition"]: one["size"] for one in directory["partitions"]}
    assert directory["error"] is None and set(sizes) == {f"{topic}-0", f"{topic}-1"} and max(sizes.values()) > 60
    producers = [tool("transactions", "describe-producers", "--topic", topic, "--partition", str(index)).splitlines()[1:]
                 for index in range(2)]
    assert sum(map(len, producers)) == 1, producers
    shown = tool("leader-election", "--election-type", "preferred", "--topic", topic, "--partition", "0")
    assert f"Valid replica already elected for partitions {topic}-0" in shown, shown
    assert "No partition reassignments found." in tool("reassign-partitions", "--list")
    plan = tmp_path / "plan.json"
    here = {"topic": topic, "partition": 0, "replicas": [broker["broker"]]}
    plan.write_text(json.dumps({"version": 1, "partitions": [here]}), encoding="utf-8")
    assert "Successfully started" in tool("reassign-partitions", "--execute", "--reassignment-json-file", str(plan))
    shown = tool("configs", "--describe", "--all", "--entity-type", "brokers", "--entity-name", str(broker["broker"]))
    assert re.search(r"node.id=\d+", shown) and "log.retention.ms=604800000" in shown
