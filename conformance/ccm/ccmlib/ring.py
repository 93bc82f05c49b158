"""Rings on which certain keys are at certain nodes.

Some suites know where Cassandra puts a key. Holon's ring follows from the ids of its nodes, which are random: a cluster
is formed again until it fits. `HOLON_CCM_RING` is what is asked for: `KEY:NODE[+NODE…]`, separated by commas. The key
is an int, or a text; the nodes are by number, as many as the replication factor, in any order: who is the first of two
is said by a part with that one alone.
"""

import os
import struct

TRIES_MAX = 200
_KEYSPACE = "holon_ccm_ring"


def wanted():
    """Pairs of a key's bytes and the names of its replicas."""
    pairs = []
    for part in filter(None, os.environ.get("HOLON_CCM_RING", "").split(",")):
        key, nodes = part.rsplit(":", 1)
        number = key.lstrip("-").isdigit()
        pairs.append((struct.pack(">i", int(key)) if number else key.encode(), [f"node{n}" for n in nodes.split("+")]))
    return pairs


def fits(cluster):
    """Whether each key is where it is wanted. What names a node that this cluster has not is left out."""
    asked = [(key, names) for key, names in wanted() if all(name in cluster.nodes for name in names)]
    return not asked or _fits(cluster, asked)


def _fits(cluster, asked):
    from cassandra.cluster import Cluster as Client  # not before a suite has chosen which driver it tests

    first = next(iter(cluster.nodes.values()))
    client = Client([first.address()], protocol_version=4)
    try:
        session = client.connect()
        at_right_nodes = True
        for factor in sorted({len(names) for _, names in asked}):
            session.execute(f"CREATE KEYSPACE {_KEYSPACE} WITH replication = "
                            f"{{'class': 'SimpleStrategy', 'replication_factor': {factor}}}")
            for key, names in asked:
                if len(names) == factor:
                    replicas = {host.address for host in client.metadata.get_replicas(_KEYSPACE, key)}
                    at_right_nodes &= replicas == {cluster.nodes[name].address() for name in names}
            session.execute(f"DROP KEYSPACE {_KEYSPACE}")
        return at_right_nodes
    finally:
        client.shutdown()
