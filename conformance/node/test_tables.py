"""`holon tables`: flush, compact, verify, snapshot and restore on a node that runs; and damaged files."""

import pathlib
import random
import subprocess

import holon_node
import pytest
from loader import KEYSPACE, TABLE, Loader

COMMAND_LIMIT_S = 60


def holon(node, *words, good=True):
    """Runs a command against the node; what it printed."""
    done = subprocess.run(
        [holon_node.binary(), *words[:1], "--data-dir", str(node.data_dir), *words[1:]], capture_output=True, text=True,
        timeout=COMMAND_LIMIT_S, check=False,
        env=holon_node.plain_environment())
    assert (done.returncode == 0) == good, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "panicked" not in done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def loaded(node):
    """A node with some thousand writes and deletions, half of them flushed; and its loader."""
    loader = Loader(node.address, 5)
    loader.connect()
    loader.prepare()
    for _ in range(2):
        before = loader.statements
        for _ in range(20):  # the machine may be busy with other things for a while
            loader.load(1.0, lambda: None)
            settle(loader)
            if loader.statements > before + 100:
                break
        assert loader.statements > before + 100
        loader.verify()
        holon(node, "tables", "flush")
    yield node, loader
    loader.close()


def settle(loader):
    """Waits until nothing is under way."""
    import time
    deadline = time.monotonic() + 20
    while loader.pending and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not loader.pending


def test_flush_and_compact_change_nothing(loaded):
    node, loader = loaded
    loader.verify()
    holon(node, "tables", "compact", KEYSPACE)
    loader.verify()
    assert KEYSPACE in holon(node, "tables", "info")
    node.kill()
    node.start()
    loader.close()
    loader.connect()
    loader.verify()


def test_verify_finds_nothing_wrong(loaded):
    node, _ = loaded
    holon(node, "tables", "verify")


def test_snapshot_and_restore(loaded):
    node, loader = loaded
    before = dict(loader.acknowledged)
    holon(node, "tables", "snapshot", "monday", KEYSPACE)
    assert "monday" in holon(node, "tables", "snapshots")
    loader.load(0.5, lambda: None)
    settle(loader)
    loader.session.execute(f"DELETE FROM {TABLE} WHERE p = 1")
    loader.session.execute(f"TRUNCATE {TABLE}")
    holon(node, "tables", "restore", "monday", KEYSPACE)
    loader.acknowledged = before
    loader.verify()
    node.kill()
    node.start()
    loader.close()
    loader.connect()
    loader.verify()
    holon(node, "tables", "drop-snapshot", "monday", KEYSPACE)
    assert "monday" not in holon(node, "tables", "snapshots")


def test_commands_that_make_no_sense(node):
    for words in (["restore", "never-made"], ["snapshot", "../../etc"], ["flush", "no_such_keyspace"], ["explode"]):
        assert words[-1] in holon(node, "tables", *words, good=False)
    assert node.running()


def sorted_tables(node):
    files = [path for path in (pathlib.Path(node.data_dir) / "tablets").rglob("*") if path.is_file()]
    assert files, "no files under tablets after a flush"
    return max(files, key=lambda path: path.stat().st_size)


@pytest.mark.parametrize("damage", ["flip", "zero", "cut"])
def test_damage_is_an_error_that_names_the_file_never_a_wrong_answer(loaded, damage):
    node, loader = loaded
    holon(node, "tables", "compact", KEYSPACE)
    node.terminate()
    loader.close()
    file = sorted_tables(node)
    content = bytearray(file.read_bytes())
    place = random.Random(len(content)).randrange(len(content) // 2)
    if damage == "flip":
        content[place] ^= 0x40
    elif damage == "zero":
        content[place:place + 512] = bytes(512)
    else:
        del content[len(content) - len(content) // 3:]
    file.write_bytes(content)
    node.start(wait=False)
    try:
        node.wait_ready()
    except AssertionError:
        assert not node.running() and file.name in node.said(), f"it refused without naming {file.name}:\n{node.said()}"
        return
    assert file.name in holon(node, "tables", "verify", good=False), "verify does not name the damaged file"
    loader.connect()
    try:
        loader.verify()
    except AssertionError:
        raise
    except Exception as refused:  # an error of the server is right; a wrong answer is a Violation above
        print(f"reading says: {refused}")
    assert node.running()


def test_damaged_log_of_the_metadata(loaded):
    node, loader = loaded
    node.terminate()
    loader.close()
    file = pathlib.Path(node.data_dir) / "metadata" / "log"
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 0x10
    file.write_bytes(content)
    node.start(wait=False)
    code = node.wait_end(15)
    assert code != 0 and "metadata" in node.said() and "panicked" not in node.said(), node.said()
