"""Clusters under test: nodes that join each other, and sessions that talk to one of them each. Shared by the tests of this
folder that need more than one node; the fixture `cluster` of conftest.py makes them.
"""

import re
import subprocess
import time

import holon_node
from cassandra import ConsistencyLevel
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import FallthroughRetryPolicy, RoundRobinPolicy, TokenAwarePolicy, WhiteListRoundRobinPolicy
from cassandra.query import SimpleStatement

QUORUM, ALL, ONE = ConsistencyLevel.QUORUM, ConsistencyLevel.ALL, ConsistencyLevel.ONE
SMALL = ("--memory", "256MiB", "--shards", "2")


def command(node, *words):
    done = subprocess.run(node.question(*words), capture_output=True, text=True, timeout=60, check=False,
                          env=holon_node.plain_environment())
    return done.returncode, done.stdout + done.stderr


def token(node):
    code, text = command(node, "token")
    assert code == 0, text
    return re.search(r"--token (\S+)", text).group(1)


def status(node):
    return command(node, "status")[1]


def up(node):
    """How many members this node sees up and in the ring."""
    return status(node).count(" up normal ")


def eventually(what, holds, limit_s=60):
    deadline = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline, f"never within {limit_s} s: {what}"
        time.sleep(0.1)


class Three:
    """Nodes of one cluster, and sessions that talk to one of them each."""

    def __init__(self, make_node, insecure=False):
        self.make_node, self.insecure = make_node, insecure
        self.nodes, self.clusters, self.sessions = [], [], {}

    def add(self, *arguments, join=True, wait=True):
        arguments = [*SMALL, "--rack", f"rack{len(self.nodes) + 1}", *arguments]
        if self.insecure:
            arguments.append("--insecure")
        if self.nodes and join:
            arguments += ["--join", f"{self.nodes[0].address}:7000"]
            if not self.insecure:
                arguments += ["--token", token(self.nodes[0])]
        node = self.make_node(arguments=arguments)
        self.nodes.append(node)
        node.start(wait=wait)
        return node

    def form(self, count=3):
        for _ in range(count):
            self.add()
        for node in self.nodes:
            eventually("all are in the ring", lambda node=node: up(node) == count)
        return self

    def session(self, node):
        """One that talks to this node only."""
        if node.address not in self.sessions:
            profile = ExecutionProfile(load_balancing_policy=WhiteListRoundRobinPolicy([node.address]), request_timeout=20,
                                       retry_policy=FallthroughRetryPolicy())
            cluster = Cluster([node.address], execution_profiles={EXEC_PROFILE_DEFAULT: profile}, protocol_version=5)
            self.clusters.append(cluster)
            self.sessions[node.address] = cluster.connect()
        return self.sessions[node.address]

    def reconnect(self, node):
        """The session of a node that was started again."""
        self.sessions.pop(node.address, None)
        return self.session(node)

    def any_session(self):
        """One that talks to all, by token, as applications do."""
        policy = TokenAwarePolicy(RoundRobinPolicy())
        profile = ExecutionProfile(load_balancing_policy=policy, request_timeout=20, retry_policy=FallthroughRetryPolicy())
        cluster = Cluster([node.address for node in self.nodes if node.running()],
                          execution_profiles={EXEC_PROFILE_DEFAULT: profile}, protocol_version=5)
        self.clusters.append(cluster)
        return cluster, cluster.connect()

    def close(self):
        for cluster in self.clusters:
            cluster.shutdown()


def run(session, text, level=QUORUM, parameters=None):
    return session.execute(SimpleStatement(text, consistency_level=level), parameters)


def table(three, factor=3):
    session = three.session(three.nodes[0])
    run(session, f"CREATE KEYSPACE k WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': {factor}}}")
    run(session, "CREATE TABLE k.t (k int PRIMARY KEY, v int)")
    return session
