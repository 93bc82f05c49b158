"""A cluster of Holon processes, by the names of ccm."""

import atexit
import os
import shutil
import time

import holon_node
from ccmlib import common, ring
from ccmlib.common import ArgumentError, LooseVersion
from ccmlib.gaps import Gaps, not_here
from ccmlib.node import Node, NodeError

DEFAULT_CLUSTER_WAIT_TIMEOUT_IN_SECS = 120
DEFAULT_PREFIX = "127.0.0."
_MURMUR = "org.apache.cassandra.dht.Murmur3Partitioner"


class Cluster(Gaps):
    """Its nodes are at PREFIX1, PREFIX2 and so on: 127.0.0.1 is what suites expect; HOLON_CCM_PREFIX chooses others."""

    def __init__(self, path, name, partitioner=None, install_dir=None, create_directory=True, version=None,
                 verbose=False, cassandra_version=None, cassandra_dir=None, **_):
        self.name, self.partitioner = name, partitioner
        self.ipprefix = os.environ.get("HOLON_CCM_PREFIX", DEFAULT_PREFIX)
        self.nodes, self.seeds, self.use_vnodes = {}, [], True
        self.formed = self.has_data_centers = False
        self._config_options = {}
        self._folder = holon_node.scratch(f"ccm-{name}")
        atexit.register(self._give_up)

    def _give_up(self):
        for node in self.nodes.values():
            node.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    # What it is

    def get_path(self):
        return self._folder

    def get_install_dir(self):
        return common.CASSANDRA_VERSION

    def version(self):
        return LooseVersion(common.CASSANDRA_VERSION)

    def cassandra_version(self):
        return self.version()

    def nodelist(self):
        return list(self.nodes.values())

    def get_seeds(self, node=None):
        return [each.address() for each in self.seeds]

    # How it is to be. Options of cassandra.yaml that Holon has no like of are kept and change nothing.

    def set_configuration_options(self, values=None, batch_commitlog=None):
        self._config_options.update(values or {})
        return self

    def set_dse_configuration_options(self, values=None):
        if values:
            not_here("options of DSE")

    def set_partitioner(self, partitioner):
        if partitioner.rsplit(".", 1)[-1] != _MURMUR.rsplit(".", 1)[-1]:
            not_here(f"the partitioner {partitioner}")

    def set_batch_commitlog(self, enabled, use_batch_window=True):
        """Holon syncs its log before it answers, always."""

    def set_datadir_count(self, _count):
        """A node has one folder."""

    def set_environment_variable(self, _name, _value):
        """They are for the JVM."""

    def set_log_level(self, _level, class_names=None):
        """Holon's own level stays."""

    def set_install_dir(self, *_, **__):
        """There is one program: HOLON_BINARY."""

    # Who belongs to it

    def populate(self, nodes, debug=False, tokens=None, use_vnodes=None, ipprefix=None, ipformat=None,
                 install_byteman=False, use_single_interface=False):
        """As many nodes, or as many in each of dc1, dc2, …; nothing is started. Tokens are Holon's to choose."""
        if install_byteman:
            not_here("byteman")
        if use_single_interface or ipformat:
            not_here("all nodes at one address")
        self.ipprefix = ipprefix or self.ipprefix
        self.has_data_centers |= not isinstance(nodes, int)
        for number, (data_center, rack) in enumerate(_places(nodes), len(self.nodes) + 1):
            self.add(self.create_node(f"node{number}", number), True, data_center, rack)
        return self

    def create_node(self, name, number):
        address = f"{self.ipprefix}{number}"
        return Node(name, self, False, None, (address, 7000), str(7000 + 100 * number), "0", None,
                    binary_interface=(address, 9042))

    def add(self, node, is_seed, data_center=None, rack=None):
        """A data center is of no account where the first nodes were given none: then all are in one."""
        if node.name in self.nodes:
            raise ArgumentError(f"there is a {node.name} already")
        self.nodes[node.name] = node
        node.data_center, node.rack = data_center, rack
        if is_seed:
            self.seeds.append(node)
        return self

    def remove(self, node=None, wait_other_notice=False, other_nodes=None):
        """Without a node: all of it, with its data. With one: it is killed and forgotten here, not by the cluster."""
        if node is not None:
            if self.nodes.get(node.name) is node:
                node.kill()
                del self.nodes[node.name]
                if node in self.seeds:
                    self.seeds.remove(node)
            return
        self._give_up()
        atexit.unregister(self._give_up)
        self.nodes, self.seeds, self.formed = {}, [], False

    def clear(self):
        """Stops it and takes its data."""
        for node in self.nodes.values():
            node.kill()
            node.clear()
        self.formed = False

    # Starting and stopping

    def start(self, no_wait=False, verbose=False, wait_for_binary_proto=True, wait_other_notice=True, jvm_args=None,
              profile_options=None, quiet_start=False, allow_root=False, skip_node_start=False, **_):
        """Starts what does not run. A cluster that is formed now is formed again until it has the asked for ring."""
        for _ in range(ring.TRIES_MAX):
            was_formed = self.formed
            self._start(jvm_args)
            if was_formed or ring.fits(self):
                return [(node, node.process, 0) for node in self.nodelist()]
            self.clear()
        raise NodeError(f"no ring like {ring.wanted()} in {ring.TRIES_MAX} tries")

    def _start(self, jvm_args):
        stopped = [node for node in self.nodelist() if not node.is_running()]
        if stopped and not self.formed:
            stopped.pop(0).start(jvm_args=jvm_args, wait_other_notice=False)
        for node in stopped:
            node.start(jvm_args=jvm_args, wait_other_notice=False, no_wait=True)
        for node in stopped:
            node.wait_ready()
        self._wait_all_in()
        if any(node.joins for node in stopped):
            self.nodelist()[0].wait_quiet(self.nodelist(), DEFAULT_CLUSTER_WAIT_TIMEOUT_IN_SECS)

    def _wait_all_in(self, limit_s=DEFAULT_CLUSTER_WAIT_TIMEOUT_IN_SECS):
        """Until all that run see each other up and in the ring."""
        running = [node for node in self.nodelist() if node.is_running()]
        deadline = time.monotonic() + limit_s
        for node in running:
            while not node.sees_all(running):
                if time.monotonic() > deadline:
                    raise NodeError(f"{node.name} does not see all others up and in the ring within {limit_s} s")
                time.sleep(0.1)

    def stop(self, wait=True, signal_event=None, wait_other_notice=False, gently=True, **_):
        """All at once, as nobody is left who would have to notice."""
        running = [node for node in self.nodelist() if node.is_running()]
        for node in running:
            node.stop(wait=False, wait_other_notice=False, gently=gently)
        for node in running:
            node.wait_end()
        return [node for node in self.nodelist() if node.is_running()]

    # What all of its nodes do

    def _each(self, method, *arguments):
        for node in self.nodelist():
            if node.is_running():
                getattr(node, method)(*arguments)

    def flush(self, options=None):
        self._each("flush")

    def compact(self, keyspace="", tables=()):
        self._each("compact", keyspace, tables)

    def cleanup(self):
        self._each("cleanup")

    def nodetool(self, command):
        self._each("nodetool", command)
        return self

    def stress(self, options, **keywords):
        return next(node for node in self.nodelist() if node.is_running()).stress(options, **keywords)

    @staticmethod
    def balanced_tokens(count):
        return [int(2**64 / count * number) - 2**63 for number in range(count)]


def _places(nodes):
    """A data center and a rack for each: none were asked for, or counts by data center, or by both."""
    if isinstance(nodes, int):
        return [(None, None)] * nodes
    if isinstance(nodes, dict):
        racks = [(center, inside) if isinstance(inside, dict) else (center, {"r1": inside})
                 for center, inside in nodes.items()]
        return [(center, rack) for center, inside in racks for rack, count in inside.items() for _ in range(count)]
    return [(f"dc{number}", "r1") for number, count in enumerate(nodes, 1) for _ in range(count)]
