"""A node that comes while the others are under faults, takes its share of the data, and is sent away again.

    away ── start --join ──▶ joining ── in the ring ──▶ member ── cluster drain ──▶ leaving ── ends by itself ──▶ gone

It is asked for nothing and is not hurt itself: what it brings is tablets that move while their replicas are killed, stopped and
cut off. None of what it waits for may hold up the faults of the others, so it is looked at from time to time, and never waited for.
"""

import random
import subprocess
import tempfile
import time

# Between two looks, and until a command that does not answer is given up.
LOOK_S, ANSWER_LIMIT_S = 0.5, 15
# After the last fault, until it has come and gone: what it holds is little, but a whole ring of tablets moves twice.
LIMIT_S = 150
KINDS = {"join": "a node joins meanwhile", "drain": "it is drained, and ends by itself"}


def plan(seed, seconds):
    """When it comes and when it is sent away again, seconds from the beginning."""
    rng = random.Random(f"{seed} guest")
    return seconds * rng.uniform(0.02, 0.2), seconds * rng.uniform(0.3, 0.6)


class Guest:
    def __init__(self, node, moments, fired, say):
        self.node, self.fired, self.say = node, fired, say
        self.comes, self.goes = moments
        self.state, self.began, self.next_look = "away", None, 0.0
        self.command, self.output, self.command_began = None, None, 0.0
        self.problems, self.refused = [], None

    def is_gone(self):
        return self.state == "gone" or bool(self.problems)

    def look(self):
        """What it does next, if it is time for that."""
        now = time.monotonic()
        if self.state == "gone" or self.problems or now < self.next_look:
            return
        self.next_look = now + LOOK_S
        if self.state == "away":
            if now >= self.began + self.comes:
                self.say("a node more joins")
                self.node.start(wait=False)
                self.state = "joining"
        elif not self.node.running():
            self.has_ended()
        elif self.command is not None:
            self.answer(now)
        elif self.state == "joining":
            self.ask("status")
        elif self.state == "member" and now >= self.began + self.goes:
            # Others may be down: it waits for them then, as it must.
            self.ask("cluster", "drain", self.node.address, "--force")

    def has_ended(self):
        code, said = self.node.wait_end(), self.node.said()
        self.give_up_command()
        if self.state == "leaving" and code == 0 and "taken out of the cluster" in said:
            self.say("the node that came is gone again")
            self.fired["drain"] += 1
            self.state = "gone"
        elif self.state == "joining":
            # It asks for a minute, and ends if nobody may let it in.
            self.say("the node that joins is started once more")
            self.node.start(wait=False)
        else:
            self.problems.append(f"the node that came ended by itself ({code}) while {self.state}: {said[-2000:]}")

    def ask(self, *words):
        self.output = tempfile.TemporaryFile("w+")
        self.command = subprocess.Popen(self.node.question(*words), stdin=subprocess.DEVNULL, stdout=self.output,
                                        stderr=subprocess.STDOUT)
        self.command_began = time.monotonic()

    def answer(self, now):
        code = self.command.poll()
        if code is None:
            if now > self.command_began + ANSWER_LIMIT_S:
                self.give_up_command()
            return
        self.output.seek(0)
        text = self.output.read()
        self.give_up_command()
        if self.state == "joining" and f" up normal {self.node.address}:" in text:
            self.say("the node that joins is in the ring")
            self.fired["join"] += 1
            self.state = "member"
        elif self.state == "member" and code == 0:
            self.say("the node that came is drained")
            self.state = "leaving"
        elif self.state == "member" and text != self.refused:
            self.refused = text
            self.say(f"it cannot be drained yet: {text.strip()[:200]}")

    def give_up_command(self):
        if self.command is not None:
            if self.command.poll() is None:
                self.command.kill()
            self.command.wait()
            self.output.close()
            self.command = None
