"""A disk that is full: the node goes on to serve reads, says why it takes no writes, loses nothing that it acknowledged, and
takes writes again by itself when there is room.
"""

import hashlib
import pathlib
import subprocess

import holon_node
import pytest
from cassandra import OperationTimedOut
from cassandra.cluster import NoHostAvailable
from cassandra.protocol import ServerError
from clusters import Three, command, eventually

pytestmark = pytest.mark.privileged

ROW_BYTES = 100_000


def value(key):
    """What cannot be compressed, and can be told again."""
    return b"".join(hashlib.sha256(f"{key} {part}".encode()).digest() for part in range(ROW_BYTES // 32))


def mount(folder, size, *options):
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join([f"size={size}m", *options]), "tmpfs", folder],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def disk():
    folder = pathlib.Path(holon_node.scratch("full"))
    mount(folder, 160)
    yield folder
    # Whoever held files there has ended: nodes are made after this, and removed before.
    subprocess.run(["umount", "-l", folder], check=False)


def test_a_full_disk_stops_writes_and_nothing_else(disk, make_node):
    node = make_node(arguments=("--memory", "128MiB", "--shards", "1"), data_dir=disk / "node")
    node.start()
    sessions = Three(make_node)
    session = sessions.session(node)
    session.execute("CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
    session.execute("CREATE TABLE k.t (k int PRIMARY KEY, v blob)")
    insert = session.prepare("INSERT INTO k.t (k, v) VALUES (?, ?)")
    select = session.prepare("SELECT v FROM k.t WHERE k = ?")
    acknowledged, refused = [], []
    for key in range(3000):
        try:
            session.execute(insert, (key, value(key)))
            acknowledged.append(key)
        except (ServerError, NoHostAvailable) as error:
            refused.append(str(error))
            if len(refused) == 10:
                break
    assert len(acknowledged) > 500, (len(acknowledged), refused)
    assert len(refused) == 10, "the disk is not full"
    assert all("the disk is full" in text and "free space" in text for text in refused), refused

    def all_there(session, select):
        return all(session.execute(select, (key,)).one().v == value(key) for key in acknowledged)

    assert all_there(session, select), "reads go on"
    code, text = command(node, "status")
    assert code == 0 and "TROUBLE" in text and "the disk is full" in text, text
    assert "soon writes are refused" in node.said(), node.said()

    # Room comes, and nobody does anything else.
    mount(disk, 600, "remount")

    def takes_writes():
        try:
            session.execute(insert, (10_000, value(10_000)))
        except (ServerError, NoHostAvailable, OperationTimedOut):
            return False
        return True
    eventually("writes are taken again", takes_writes)
    eventually("it says that all is well", lambda: "TROUBLE" not in command(node, "status")[1])
    assert "data gets to the disk again" in node.said()
    acknowledged.append(10_000)
    node.kill()
    node.start()
    session = sessions.reconnect(node)
    assert all_there(session, session.prepare("SELECT v FROM k.t WHERE k = ?"))
    sessions.close()
