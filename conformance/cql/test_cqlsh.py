"""cqlsh 6.2.2: starts, describes, copies, formats; and what it describes can be run again."""

import csv
import os
import pathlib
import re
import subprocess
import sys

import pytest

CQLSH = pathlib.Path(sys.executable).parent / "cqlsh"
LIMIT_S = 120


@pytest.fixture
def cqlsh(target, keyspace, tmp_path):
    """Runs statements in a cqlsh of its own; its output without the warning about versions."""

    def run(text, expect_error=False, in_keyspace=True, arguments=()):
        script = tmp_path / "script.cql"
        script.write_text((f"USE {keyspace};\n" if in_keyspace else "") + text, encoding="utf-8")
        environment = dict(os.environ, HOME=str(tmp_path), COLUMNS="500", TZ="UTC", LC_ALL="C.UTF-8")
        done = subprocess.run(
            [sys.executable, CQLSH, "--no-color", *arguments, "-f", script, target[0], str(target[1])], cwd=tmp_path,
            env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        errors = "\n".join(line for line in done.stderr.splitlines() if "cqlsh was built against" not in line).strip()
        if expect_error:
            assert errors or done.returncode != 0, done.stdout
            return errors
        assert done.returncode == 0 and not errors, f"{done.returncode}: {errors}\n{done.stdout}"
        lines = [line.rstrip() for line in done.stdout.splitlines() if "cqlsh was built against" not in line]
        return "\n".join(lines).strip("\n")

    return run


def test_one_statement_from_the_command_line(target, tmp_path):
    done = subprocess.run(
        [sys.executable, CQLSH, "--no-color", "-e", "SELECT key FROM system.local", target[0], str(target[1])],
        capture_output=True, text=True, timeout=LIMIT_S, env=dict(os.environ, HOME=str(tmp_path)), check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r" key\s*\n-+\s*\n local", done.stdout) and "(1 rows)" in done.stdout


def test_banner_and_version(cqlsh):
    shown = cqlsh("SHOW VERSION\nSHOW HOST\n")
    assert re.search(r"\[cqlsh 6\.2\.\d+ \| Cassandra [4-9][.\d]+\S* \| CQL spec 3\.4\.\d+ \| Native protocol v[45]\]", shown)
    assert "Connected to" in shown


def test_describe_lists(cqlsh, keyspace, session, table):
    name = table("k int PRIMARY KEY")
    shown = cqlsh("DESCRIBE KEYSPACES;\nDESCRIBE TABLES;\nDESCRIBE CLUSTER;\n")
    assert keyspace in shown and name in shown and "system_schema" in shown
    assert "Partitioner: Murmur3Partitioner" in shown


@pytest.mark.parametrize("statement", [
    "DESCRIBE SCHEMA", "DESCRIBE FULL SCHEMA", "DESCRIBE TYPES", "DESCRIBE FUNCTIONS", "DESCRIBE AGGREGATES",
    "DESCRIBE KEYSPACE system", "DESCRIBE TABLE system.local", "DESCRIBE system_schema.tables", "DESC KEYSPACES"])
def test_describe_anything(cqlsh, statement):
    cqlsh(statement + ";\n")


def test_describe_of_what_is_not_there(cqlsh):
    for statement in ("DESCRIBE TABLE nothing", "DESCRIBE KEYSPACE nothing", "DESCRIBE nothing"):
        assert "not found" in cqlsh(statement + ";\n", expect_error=True).lower()


def test_describe_output_makes_the_same_again(cqlsh, session):
    session.execute("DROP KEYSPACE IF EXISTS described")
    session.execute("CREATE KEYSPACE described WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1} "
                    "AND durable_writes = false")
    session.execute("CREATE TYPE described.pair (a int, b frozen<list<text>>)")
    session.execute("CREATE TABLE described.one (k int, \"C\" text, s int static, v frozen<pair>, m map<text, int>, "
                    "PRIMARY KEY (k, \"C\")) WITH CLUSTERING ORDER BY (\"C\" DESC) AND comment = 'it''s'"
                    " AND compression = {'class': 'LZ4Compressor', 'chunk_length_in_kb': 16}")
    session.execute("CREATE TABLE described.two (a int, b uuid, n counter, PRIMARY KEY ((a, b)))")
    described = cqlsh("DESCRIBE KEYSPACE described;\n", in_keyspace=False)
    assert described.count("CREATE ") == 4
    session.execute("DROP KEYSPACE described")
    cqlsh(described + "\n", in_keyspace=False)
    assert cqlsh("DESCRIBE KEYSPACE described;\n", in_keyspace=False) == described
    session.execute("DROP KEYSPACE described")


def test_select_is_formatted(cqlsh, table):
    name = table("k int PRIMARY KEY, t text, f double, b blob, l list<int>, m map<text, int>, d date, w timestamp")
    shown = cqlsh(
        f"INSERT INTO {name} (k, t, f, b, l, m, d, w) VALUES (1, 'ünï', 1.5, 0xcafe, [1, 2], {{'a': 1}}, '2024-02-29', "
        f"'2024-02-29 01:02:03+0000');\nSELECT k, t, f, b, l, m, d, w FROM {name};\n")
    assert shown == (
        " k | t   | f   | b      | l      | m        | d          | w\n"
        "---+-----+-----+--------+--------+----------+------------+---------------------------------\n"
        " 1 | ünï | 1.5 | 0xcafe | [1, 2] | {'a': 1} | 2024-02-29 | 2024-02-29 01:02:03.000000+0000\n\n(1 rows)")


def test_expand(cqlsh, table):
    name = table("k int PRIMARY KEY, v text")
    shown = cqlsh(f"INSERT INTO {name} (k, v) VALUES (1, 'x');\nEXPAND ON\nSELECT * FROM {name};\n")
    assert "@ Row 1" in shown and re.search(r"^ v \| x$", shown, re.MULTILINE)


def test_consistency_tracing_paging(cqlsh, table):
    name = table("k int PRIMARY KEY")
    inserts = "".join(f"INSERT INTO {name} (k) VALUES ({key});\n" for key in range(25))
    shown = cqlsh(f"CONSISTENCY\nCONSISTENCY QUORUM\nSERIAL CONSISTENCY\nTRACING OFF\nPAGING 10\n{inserts}SELECT * FROM {name};\n"
                  "PAGING OFF\n")
    assert "Consistency level set to QUORUM" in shown
    assert "(25 rows)" in shown
    assert "Page size: 10" in shown


def test_tracing_on(cqlsh, table):
    name = table("k int PRIMARY KEY")
    shown = cqlsh(f"TRACING ON\nINSERT INTO {name} (k) VALUES (1);\nSELECT * FROM {name} WHERE k = 1;\n")
    assert len(re.findall(r"Tracing session: [0-9a-f]{8}-", shown)) == 2
    assert len(re.findall(r"Execute CQL3 query \|", shown)) == 2 and shown.count("Request complete") == 2
    assert f"Parsing SELECT * FROM {name}" in shown and "activity" in shown and "source_elapsed" in shown


def test_source_and_capture(cqlsh, table, tmp_path):
    name = table("k int PRIMARY KEY")
    (tmp_path / "inner.cql").write_text(f"INSERT INTO {name} (k) VALUES (42);", encoding="utf-8")
    shown = cqlsh(f"SOURCE '{tmp_path}/inner.cql'\nSELECT * FROM {name};\n")
    assert "42" in shown and "(1 rows)" in shown


def test_errors_are_shown(cqlsh):
    assert "SyntaxException" in cqlsh("SELEC * FROM x;\n", expect_error=True)
    assert "InvalidRequest" in cqlsh("SELECT * FROM no_such_table;\n", expect_error=True)


def test_batch_and_conditions(cqlsh, table):
    name = table("k int PRIMARY KEY, v int")
    shown = cqlsh(f"BEGIN BATCH INSERT INTO {name} (k, v) VALUES (1, 1); INSERT INTO {name} (k, v) VALUES (2, 2); APPLY BATCH;\n"
                  f"INSERT INTO {name} (k, v) VALUES (1, 9) IF NOT EXISTS;\nSELECT count(*) FROM {name};\n")
    assert re.search(r"\[applied\] \| k \| v\n-+\+---\+---\n\s+False \| 1 \| 1", shown)
    assert re.search(r" count\n-+\n\s+2", shown)


def test_copy_there_and_back(cqlsh, table, session, tmp_path):
    columns = "k int, c text, f double, b boolean, d decimal, u uuid, w timestamp, l list<int>, m map<text, text>, PRIMARY KEY (k, c)"
    source, target = table(columns, suffix="_from"), table(columns, suffix="_to")
    insert = session.prepare(f"INSERT INTO {source} (k, c, f, b, d, u, w, l, m) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
    import datetime
    import decimal
    import uuid
    for number in range(3000):
        session.execute_async(insert, (
            number % 10, f"c{number}, \"quoted\" 'line'", number / 8, number % 2 == 0, decimal.Decimal(number) / 4,
            uuid.UUID(int=number), datetime.datetime(2020, 1, 1) + datetime.timedelta(milliseconds=number),
            [number, 2] if number % 3 else None, {"a'b": "x"} if number % 5 else None)).result()
    file = tmp_path / "copied.csv"
    shown = cqlsh(f"COPY {source} TO '{file}' WITH HEADER = TRUE AND NUMPROCESSES = 2;\n")
    assert "3000 rows exported to 1 files" in shown
    with open(file, newline="", encoding="utf-8") as copied:
        assert len(list(csv.reader(copied))) == 3001
    shown = cqlsh(f"COPY {target} FROM '{file}' WITH HEADER = TRUE AND NUMPROCESSES = 2;\n")
    assert "3000 rows imported from 1 files" in shown
    everything = "SELECT k, c, f, b, d, u, w, l, m FROM {}"
    assert sorted(map(repr, session.execute(everything.format(source)))) == sorted(
        map(repr, session.execute(everything.format(target))))


def test_copy_names_the_rows_it_cannot_take(cqlsh, table, tmp_path):
    name = table("k int PRIMARY KEY, v int")
    file = tmp_path / "bad.csv"
    file.write_text("1,2\n2,x\n3,4\n", encoding="utf-8")
    errors = cqlsh(f"COPY {name} (k, v) FROM '{file}' WITH NUMPROCESSES = 1;\n", expect_error=True)
    assert "Failed to import 1 rows" in errors
    assert re.search(r"\(2 rows\)", cqlsh(f"SELECT * FROM {name};\n"))
