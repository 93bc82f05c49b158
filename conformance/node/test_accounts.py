"""Accounts: with `--auth password` nobody gets in without one, and there is no default password."""

import subprocess

import holon_node
import pytest
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import Cluster, NoHostAvailable


def user(node, *words, password=None):
    environment = holon_node.plain_environment()
    done = subprocess.run([holon_node.binary(), "user", "--data-dir", str(node.data_dir), *words], capture_output=True, text=True,
                          input=None if password is None else password + "\n", timeout=30, check=False, env=environment)
    return done.returncode, done.stdout + done.stderr


def connects(node, name=None, password=None):
    provider = PlainTextAuthProvider(name, password) if name else None
    cluster = Cluster([node.address], auth_provider=provider, protocol_version=5, connect_timeout=20)
    try:
        return cluster.connect().execute("SELECT key FROM system.local").one().key == "local"
    except NoHostAvailable as refused:
        assert "uthentic" in str(refused) or "assword" in str(refused), refused
        return False
    finally:
        cluster.shutdown()


@pytest.fixture
def locked(make_node):
    return make_node(arguments=["--auth", "password"]).start()


def test_nobody_gets_in_by_default(locked):
    assert not connects(locked)
    for name in ("cassandra", "admin", "holon", "root"):
        assert not connects(locked, name, name)


def test_account_opens_the_door(locked):
    code, text = user(locked, "create", "ada", password="correct horse")
    assert code == 0, text
    assert connects(locked, "ada", "correct horse")
    assert not connects(locked, "ada", "wrong horse")
    assert not connects(locked, "bob", "correct horse")
    assert "ada" in user(locked, "list")[1]
    locked.kill()
    locked.start()
    assert connects(locked, "ada", "correct horse"), "the account did not survive a kill"
    assert user(locked, "password", "ada", password="new horse")[0] == 0
    assert connects(locked, "ada", "new horse") and not connects(locked, "ada", "correct horse")
    assert user(locked, "drop", "ada")[0] == 0
    assert not connects(locked, "ada", "new horse")
    assert "horse" not in locked.said(), "a password is in the log"
