"""What befalls the nodes: a plan made of a seed, and its execution.

Two tracks run beside each other, so that a node may die while another one is cut off: one of processes, one of the network. Each
goes through its kinds in a shuffled order before it begins anew. The plan is the same for the same seed, number of nodes and
length; what happens under it is not, for these are real processes.

A fault counts as fired when it took effect: a process that was dead or stopped, a rule that dropped at least one packet.
"""

import os
import random
import signal
import time

PROCESS = ("kill", "kill", "pause", "pause", "kill all")
NETWORK = ("cut", "cut in", "cut out", "bridge", "loss", "isolate")
KINDS = {
    "kill": "kill -9 of a node, started again",
    "kill all": "kill -9 of every node at once",
    "pause": "SIGSTOP, SIGCONT",
    "cut": "one node and all others do not hear each other",
    "cut in": "one node does not hear the others",
    "cut out": "the others do not hear one node",
    "bridge": "two halves that do not hear each other, and one node that hears both",
    "loss": "packets between all nodes are lost by chance",
    "isolate": "one node is cut off from nodes and clients",
}
LOSS_PERCENT = 20
# Without a fault at first, seconds.
BEGIN_S = 1.0


def plan(seed, nodes, seconds):
    """Faults as (begin, end, kind, order of the nodes), seconds from the beginning, by their begin."""
    faults = []
    for kinds in (PROCESS, NETWORK):
        rng = random.Random(f"{seed} {kinds[0]}")
        steps, total = [], BEGIN_S
        while total < seconds or len(steps) < len(kinds):
            for kind in rng.sample(kinds, len(kinds)):
                length = rng.uniform(0.3, 2.0) if kind == "kill all" else rng.choice((rng.uniform(0.5, 3.0), rng.uniform(3.0, 12.0)))
                steps.append((kind, rng.uniform(0.3, 4.0), length, rng.sample(range(nodes), nodes)))
                total += sum(steps[-1][1:3])
        # Each kind comes at least once, however short the run.
        least = sum(gap + length for _, gap, length, _ in steps[:len(kinds)])
        scale, now = min(1.0, (seconds - BEGIN_S) / least), BEGIN_S
        for kind, gap, length, order in steps:
            begin, now = now + gap * scale, now + (gap + length) * scale
            if now > seconds * 1.001:
                break
            faults.append((begin, now, kind, order))
    return sorted(faults)


def pairs(kind, order):
    """From whom to whom packets are lost."""
    one, others = order[0], order[1:]
    into, out_of = [(other, one) for other in others], [(one, other) for other in others]
    if kind == "cut in":
        return into
    if kind == "cut out":
        return out_of
    if kind in ("cut", "isolate"):
        return into + out_of
    if kind == "loss":
        return [(sender, receiver) for sender in order for receiver in order if sender != receiver]
    half = len(others) // 2  # of a bridge; `one` hears both
    return [pair for a in others[:half] for b in others[half:] for pair in ((a, b), (b, a))]


class Nemesis:
    """Does to a cluster what a plan says. All nodes are started by the thread that calls it: they die with that thread."""

    def __init__(self, nodes, network, say):
        self.nodes, self.network, self.say = nodes, network, say
        self.guest = None
        self.fired = dict.fromkeys(KINDS, 0)
        self.down, self.problems = set(), []

    def run(self, faults, began):
        """To the end of the last fault."""
        moments = [(fault[0], self.begin, fault) for fault in faults] + [(fault[1], self.end, fault) for fault in faults]
        for moment, act, fault in sorted(moments, key=lambda each: each[0]):
            while time.monotonic() < began + moment:
                self.watch()
                time.sleep(min(0.1, max(0.0, began + moment - time.monotonic())))
            act(fault)

    def watch(self):
        """A node that ends by itself has failed."""
        if self.guest is not None:
            self.guest.look()
        for number, node in enumerate(self.nodes):
            if number not in self.down and not node.running():
                self.problems.append(f"node {number + 1} ended by itself ({node.process.poll()}): {node.said()[-2000:]}")
                self.down.add(number)

    def begin(self, fault):
        _, end, kind, order = fault
        self.say(f"{kind}, node {order[0] + 1} first, until {end:.1f} s")
        if kind in ("kill", "kill all"):
            for number in order if kind == "kill all" else order[:1]:
                self.down.add(number)
                self.nodes[number].process.send_signal(signal.SIGKILL)
            for number in self.down:
                self.nodes[number].process.wait()
            self.fired[kind] += 1
        elif kind == "pause":
            node = self.nodes[order[0]]
            if node.running():
                node.process.send_signal(signal.SIGSTOP)
        else:
            percent = LOSS_PERCENT if kind == "loss" else 100
            for sender, receiver in pairs(kind, order):
                self.network.drop(sender, receiver, percent)
            if kind == "isolate":
                self.network.mute(order[0])

    def end(self, fault):
        kind, order = fault[2:]
        if kind in PROCESS:
            if kind == "pause":
                self.resume(self.nodes[order[0]])
            for number in sorted(self.down):
                self.nodes[number].start(wait=False)
            self.down.clear()
        elif self.network.heal():
            self.fired[kind] += 1

    def resume(self, node):
        if node.running():
            with open(f"/proc/{node.process.pid}/stat", encoding="ascii", errors="replace") as stat:
                self.fired["pause"] += stat.read().rsplit(")", 1)[1].split()[0] == "T"
            os.kill(node.process.pid, signal.SIGCONT)
