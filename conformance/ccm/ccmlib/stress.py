"""`cassandra-stress write` and `read` of N rows into the table that it would make; what else that program does is not here.

Each row is written, and read and compared, at the level that is asked for: a row that fails or is not there fails it all.
"""

import hashlib
import re

from ccmlib.gaps import not_here

ROWS_MAX = 100_000
# What steers how fast it goes, or where columns come from: it changes nothing that a test could see.
_WITHOUT_EFFECT = re.compile(r"no-warmup|-(rate|schema|node|errors|log)|threads=.*|skip-read-validation|"
                             r"compaction\(.*\)|compression=.*")
_FACTORS = {"1": 1, "K": 1000, "M": 1_000_000}


def run(node, options):
    words = re.sub(r",\s+", ",", " ".join(options)).split()
    verb, rows, level, factor = words[0], None, "LOCAL_ONE", 1
    for word in words[1:]:
        if found := re.fullmatch(r"n=(\d+)([KkMm]?)", word):
            rows = int(found[1]) * _FACTORS[found[2].upper() or "1"]
        elif found := re.fullmatch(r"cl=(\w+)", word):
            level = found[1]
        elif found := re.fullmatch(r"replication\((?:.*,)?(?:replication_)?factor=(\d+)\)", word):
            factor = int(found[1])
        elif not _WITHOUT_EFFECT.fullmatch(word):
            not_here(f"cassandra-stress {word}")
    if verb not in ("write", "read") or rows is None or rows > ROWS_MAX:
        not_here(f"cassandra-stress {verb}, {rows or 'no number of'} rows")
    _carry_out(node, verb, rows, level, factor)


def _row(number):
    """The key, and five columns that follow from it."""
    key = f"{number:010}".encode()
    return key, *(hashlib.sha256(key + bytes([column])).digest() for column in range(5))


def _carry_out(node, verb, rows, level, factor):
    from cassandra import ConsistencyLevel  # not before a suite has chosen which driver it tests
    from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
    from cassandra.concurrent import execute_concurrent_with_args
    from ccmlib.node import ToolError  # that module imports this one

    profile = ExecutionProfile(consistency_level=getattr(ConsistencyLevel, level), request_timeout=30)
    client = Cluster([node.address()], execution_profiles={EXEC_PROFILE_DEFAULT: profile}, protocol_version=4)
    try:
        session = client.connect()
        session.execute("CREATE KEYSPACE IF NOT EXISTS keyspace1 WITH replication = "
                        f"{{'class': 'SimpleStrategy', 'replication_factor': {factor}}}")
        columns = ", ".join(f'"C{number}"' for number in range(5))
        session.execute("CREATE TABLE IF NOT EXISTS keyspace1.standard1 (key blob PRIMARY KEY, "
                        f"{columns.replace(',', ' blob,')} blob)")
        writes = verb == "write"
        text = (f"INSERT INTO keyspace1.standard1 (key, {columns}) VALUES (?, ?, ?, ?, ?, ?)" if writes else
                f"SELECT key, {columns} FROM keyspace1.standard1 WHERE key = ?")
        wanted = [_row(number) for number in range(rows)]
        answers = execute_concurrent_with_args(session, session.prepare(text), wanted if writes else
                                               [row[:1] for row in wanted], concurrency=64)
        missing = [] if writes else [row for row, answer in zip(wanted, answers) if tuple(answer[1].one() or ()) != row]
        if missing:
            raise ToolError(f"stress {verb}", 1, "", f"{len(missing)} of {rows} rows are not there, such as {missing[0][0]}")
    except Exception as error:
        raise error if isinstance(error, ToolError) else ToolError(f"stress {verb}", 1, "", repr(error)) from error
    finally:
        client.shutdown()
