"""TRUNCATE of a table for which hints wait: what it removed stays removed."""

import re
import urllib.request

from cassandra import Unavailable
from cassandra.protocol import ServerError, TruncateError
from clusters import ALL, QUORUM, eventually, run, up

ROWS = 250
# So much that sending the hints takes seconds (the limits of the core: 4 MiB a second and shard).
ROW_BYTES = 200_000


def hints(node, name):
    """A figure about hints, of all shards of a node."""
    with urllib.request.urlopen(f"http://{node.address}:7070/metrics", timeout=10) as page:
        return float(re.search(rf"^holon_hints_{name} (\S+)$", page.read().decode(), re.MULTILINE).group(1))


def test_hints_from_before_a_truncation_bring_nothing_back(cluster):
    three = cluster().form()
    first, away = three.nodes[0], three.nodes[2]
    session = three.session(first)
    run(session, "CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 3}")
    for name in ("t", "other"):
        run(session, f"CREATE TABLE k.{name} (k int PRIMARY KEY, v blob)")
    away.kill()
    eventually("the dead node is seen", lambda: up(first) == 2)
    for name, rows in (("t", ROWS), ("other", 20)):
        insert = session.prepare(f"INSERT INTO k.{name} (k, v) VALUES (?, ?)")
        insert.consistency_level = QUORUM
        for key in range(rows):
            session.execute(insert, (key, bytes(ROW_BYTES)))
    assert hints(first, "waiting") >= ROWS

    away.start()

    def truncated():
        try:
            run(session, "TRUNCATE k.t", ALL)
        except (ServerError, TruncateError, Unavailable):
            return False  # the node is not back for everybody
        return True

    eventually("the table is truncated", truncated)
    sent = hints(first, "sent_total")
    assert sent < ROWS, f"{sent} hints were sent before the truncation: it came too late to show anything"
    eventually("no hint waits", lambda: hints(first, "waiting") == 0)
    for node in three.nodes:
        assert run(three.reconnect(node), "SELECT count(*) FROM k.t", ALL).one().count == 0
    # Those of another table are still sent.
    assert run(session, "SELECT count(*) FROM k.other", ALL).one().count == 20

