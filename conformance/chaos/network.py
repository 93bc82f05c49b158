"""Machines that are not there: a network namespace for each node, joined by a bridge, and rules that drop packets between them.

    this process ── bridge ─┬─ veth ─ n1: 10.213.0.1, holon start
         10.213.0.254       ├─ veth ─ n2: 10.213.0.2, holon start
                            └─ veth ─ n3: 10.213.0.3, holon start

All of it stands in a network, mount and process namespace of its own (`enter`), made by `unshare`. When the first process in
it ends, however it ends, the kernel ends every other one and takes the network away: neither can be left behind on the machine.
"""

import json
import os
import shutil
import signal
import subprocess
import sys

import holon_node

INSIDE = "HOLON_CHAOS_INSIDE"
NEEDED = {"unshare": "util-linux", "ip": "iproute2", "nft": "nftables"}
BRIDGE = "chaos"
SUBNET = "10.213.0"
HUB = f"{SUBNET}.254"


class Missing(Exception):
    """This machine, or these rights, do not allow for namespaces."""


def enter(arguments, environment):
    """Runs this program anew in namespaces of its own; its exit status, or `None` when it already is in them."""
    if os.environ.get(INSIDE):
        return None
    if os.geteuid() != 0:
        raise Missing("network namespaces need root")
    for program, package in NEEDED.items():
        if shutil.which(program) is None:
            raise Missing(f"`{program}` is not installed; the Debian package {package} brings it")
    unshare = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    tried = subprocess.run([*unshare, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        raise Missing(f"namespaces cannot be made here: {tried.stderr.strip()}")
    sys.stdout.flush()
    # A group of its own, so that a signal reaches what is inside too: `unshare` passes none on.
    inside = subprocess.Popen([*unshare, sys.executable, *arguments], env={**os.environ, **environment, INSIDE: "1"},
                              preexec_fn=_in_own_group)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: os.killpg(inside.pid, signal.SIGTERM))
    return inside.wait()


def _in_own_group():
    os.setpgid(0, 0)
    holon_node.die_with_parent()


def tool(*words, text=None):
    done = subprocess.run(words, input=text, capture_output=True, text=True, check=False, timeout=30)
    if done.returncode:
        raise Missing(f"`{' '.join(words)}` failed: {done.stderr.strip()} {text or ''}")
    return done.stdout


class Network:
    """`count` namespaces, numbered from 0, that reach each other and this process."""

    def __init__(self, count):
        self.count = count
        os.makedirs("/run/netns", exist_ok=True)
        # The names of the namespaces are files: in this mount namespace only.
        tool("mount", "-t", "tmpfs", "none", "/run/netns")
        tool("ip", "link", "set", "lo", "up")
        tool("ip", "link", "add", BRIDGE, "type", "bridge")
        tool("ip", "address", "add", f"{HUB}/24", "dev", BRIDGE)
        tool("ip", "link", "set", BRIDGE, "up")
        for node in range(count):
            self._add(node)

    def _add(self, node):
        name = self.name(node)
        tool("ip", "netns", "add", name)
        tool("ip", "link", "add", f"v{name}", "type", "veth", "peer", "name", "eth0", "netns", name)
        tool("ip", "link", "set", f"v{name}", "master", BRIDGE, "up")
        tool("ip", "-n", name, "link", "set", "lo", "up")
        tool("ip", "-n", name, "address", "add", f"{self.address(node)}/24", "dev", "eth0")
        tool("ip", "-n", name, "link", "set", "eth0", "up")
        chain = "add chain inet chaos in { type filter hook input priority 0; policy accept; }"
        self._rules(node, f"add table inet chaos; {chain}")

    @staticmethod
    def name(node):
        return f"n{node + 1}"

    @staticmethod
    def address(node):
        """`None` is this process."""
        return HUB if node is None else f"{SUBNET}.{node + 1}"

    def command(self, node, words):
        """`words`, as they run in the namespace of a node; the process stays the same."""
        return ["ip", "netns", "exec", self.name(node), *words]

    def _rules(self, node, text):
        tool("ip", "netns", "exec", self.name(node), "nft", "-f", "-", text=text + "\n")

    def drop(self, sender, receiver, percent=100):
        """Of the packets from one node to another so many are lost from now on."""
        chance = "" if percent == 100 else f"numgen random mod 100 < {percent} "
        self._rules(receiver, f"add rule inet chaos in ip saddr {self.address(sender)} {chance}counter drop")

    def mute(self, node):
        """This process hears nothing of a node any more, nor the node of it."""
        self.drop(None, node)
        tool("nft", "-f", "-", text="add table inet chaos; add chain inet chaos in "
             "{ type filter hook input priority 0; policy accept; }; "
             f"add rule inet chaos in ip saddr {self.address(node)} counter drop\n")

    def heal(self):
        """Ends all of it; how many packets were lost to it."""
        lost = 0
        for node in range(self.count):
            lost += self._lost(self.command(node, ["nft"]))
            self._rules(node, "flush chain inet chaos in")
        if "inet chaos" in tool("nft", "list", "tables"):
            lost += self._lost(["nft"])
            tool("nft", "flush", "chain", "inet", "chaos", "in")
        return lost

    @staticmethod
    def _lost(nft):
        listed = json.loads(tool(*nft, "-j", "list", "table", "inet", "chaos"))["nftables"]
        parts = [part for entry in listed for part in entry.get("rule", {}).get("expr", [])]
        return sum(part["counter"]["packets"] for part in parts if "counter" in part)
