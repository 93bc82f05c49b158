"""The stand-in for `ccm` (conformance/ccm), which foreign suites need: it forms a cluster, stops a node, starts it again, and
says what it cannot do. So that it does not rot while nobody runs those suites.
"""

import pathlib
import random
import sys

import pytest

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "ccm"))

from ccmlib import gaps  # noqa: E402
from ccmlib.cluster import Cluster  # noqa: E402
from clusters import QUORUM, Three, run, table  # noqa: E402


@pytest.fixture
def ccm_cluster(monkeypatch):
    """One that is not at the addresses which suites expect."""
    monkeypatch.setenv("HOLON_CCM_PREFIX", f"127.{random.randint(16, 250)}.{random.randint(0, 250)}.")
    made = Cluster("", "self-test")
    yield made
    made.remove()


@pytest.fixture
def sessions():
    made = Three(make_node=None)
    yield made
    made.close()


def test_a_cluster_is_formed_and_a_node_of_it_stopped_and_started(ccm_cluster, sessions):
    ccm_cluster.populate(3).start()
    first, _, third = ccm_cluster.nodelist()
    assert [line[:2] for line in first.nodetool("status").stdout.splitlines()[2:]] == ["UN"] * 3
    sessions.nodes = [node._holon for node in ccm_cluster.nodelist()]
    session = table(sessions)
    third.stop(wait_other_notice=True, gently=False)
    assert not third.is_running() and first.sees(third)[0] == "down"
    for key in range(20):
        run(session, f"INSERT INTO k.t (k, v) VALUES ({key}, {key})", QUORUM)
    third.start(wait_for_binary_proto=True, wait_other_notice=True)
    assert third.is_live() and first.sees(third) == ("up", "normal")
    third.repair(["k"])
    own = sessions.session(third._holon)
    assert run(own, "SELECT count(*) FROM k.t", QUORUM).one().count == 20
    assert [node.grep_log_for_errors() for node in ccm_cluster.nodelist()] == [[], [], []]


def test_what_is_not_here_skips_and_is_remembered(ccm_cluster):
    node = ccm_cluster.populate([1, 1]).nodelist()[1]
    assert node.data_center == "dc2"
    asked = (lambda: node.byteman_submit(["x"]), lambda: node.nodetool("gossipinfo"), lambda: node.grep_log("FatClient"),
             lambda: node.start(join_ring=False), lambda: node.start(jvm_args=["-Dcassandra.write_survey=true"]),
             lambda: ccm_cluster.populate(1, install_byteman=True))
    for ask in asked:
        with pytest.raises(pytest.skip.Exception, match="not here: "):
            ask()
    assert len(gaps.take_asked_for()) == len(asked) and not node.is_running()
