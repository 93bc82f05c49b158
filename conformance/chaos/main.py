"""Real processes under faults: `cargo xtask chaos [--seed N] [--seconds S] [--runs N] [--nodes N]`, as root.

    nemesis ── kill, stop, drop packets ──▶ 3 to 5 nodes, each in a network namespace ◀── statements ── clients, stock driver
                                                                                            │ each with begin, end, answer
                                                     holon-sim check-history ◀── history ───┘

A run: nodes are started and join, clients work while faults come and go, and a node more comes and is sent away again; then
everything is healed. Within a limit that node must be gone, and every other one must serve plain, conditional and counting
statements again; everything is read back through all nodes; and the history of all clients must be one that the models of the
simulator's workload allow. Of a set of runs each kind of fault must have fired.

The history of a run that failed stays in the folder that is named at the end, with what its nodes said. Exit status 1: a run
failed, or it could not be done here; then it says why. With `--plant` a run fails unless its history is found wrong.
"""

import argparse
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import guest  # noqa: E402
import holon_node  # noqa: E402
import load  # noqa: E402
import nemesis  # noqa: E402
import network  # noqa: E402

# Different plans, always the same ones; `--ci` adds one that is fresh each time.
CI_SEEDS = (1, 2, 3, 4)
ARGUMENTS = ("--insecure", "--shards", "1", "--memory", "256MiB")
CLIENTS_PER_NODE = 4
FORM_LIMIT_S = 60
# From the end of the last fault until every node serves everything again: reconnecting after a cut takes seconds, a node that
# starts replays its log.
RECOVERY_LIMIT_S = 30
READ_BACK_LIMIT_S = 60
# After the last statement, before everything is read back.
QUIET_S = 1
CHECK_LIMIT_S = 600
KINDS = {**nemesis.KINDS, **guest.KINDS}
# What each node has to do again after all faults.
KINDS_SERVED = ({"write", "delete"}, {"read"}, {"insert", "update", "remove"}, {"serial_read"}, {"count"}, {"counter_read"})


class Node(holon_node.Node):
    """A node in a namespace. What it said is kept over its restarts."""

    def __init__(self, number, net, **options):
        super().__init__(address=net.address(number), **options)
        self.number, self.net, self.before = number, net, []

    def command(self):
        return self.net.command(self.number, super().command())

    def start(self, wait=True):
        self.before += [self.said(), "---- started ----"]
        return super().start(wait)

    def log(self):
        return "\n".join([*self.before, self.said()])


class Run:
    """One seed."""

    def __init__(self, net, options, seed, folder):
        self.net, self.options, self.seed, self.folder = net, options, seed, folder
        self.problems, self.fired, self.nodes, self.guest = [], {}, [], None
        self.began = time.monotonic()

    def say(self, text):
        print(f"  {time.monotonic() - self.began:5.1f} s  {text}", flush=True)

    def do(self):
        """All of it; true if nothing is wrong."""
        print(f"seed {self.seed}: {self.options.nodes} nodes, {self.options.seconds} s", flush=True)
        try:
            self.form()
            self.work()
        except Exception as error:  # the driver has many; each is a run that failed, and the next one is still done
            self.problems.append(f"{type(error).__name__}: {error}")
        finally:
            all_nodes = [*self.nodes, *([self.guest.node] if self.guest else [])]
            said = [node.log() for node in all_nodes]
            for node in all_nodes:
                node.remove()
            self.net.heal()
        if self.problems:
            for number, text in enumerate(said, 1):
                (self.folder / f"seed-{self.seed}-node-{number}.log").write_text(text, encoding="utf-8")
        for problem in self.problems:
            print(f"  FAILED: {problem}")
        return not self.problems

    def form(self):
        for number in range(self.options.nodes):
            self.nodes.append(self.node(number, 1 if number else 0))
            self.nodes[-1].start()
        self.within(FORM_LIMIT_S, "all nodes are in the ring", lambda: all(map(self.sees_all, self.nodes)))
        session = load.connect(self.nodes[0].address)
        for text in load.SETUP:
            session.execute(text.format(keyspace=load.KEYSPACE))
        session.cluster.shutdown()

    def node(self, number, asked):
        """One that asks so many others to be let in."""
        seeds = ",".join(f"{self.net.address(other)}:7000" for other in range(asked))
        words = [*ARGUMENTS, "--rack", f"rack{number + 1}", *(["--join", seeds] if seeds else [])]
        return Node(number, self.net, arguments=words, **self.program())

    def program(self):
        if not self.options.plant:
            return {}
        return {"program": holon_node.binary(planted=True), "environment": {"HOLON_TEST_PLANT": self.options.plant}}

    def sees_all(self, node):
        told = subprocess.run(node.question("status"), capture_output=True, text=True, timeout=30, check=False)
        return told.stdout.count(" up normal ") == self.options.nodes

    @staticmethod
    def within(limit_s, what, holds):
        deadline = time.monotonic() + limit_s
        while not holds():
            assert time.monotonic() < deadline, f"never within {limit_s} s: {what}"
            time.sleep(0.2)

    def work(self):
        clients = load.Load([node.address for node in self.nodes], CLIENTS_PER_NODE, self.seed)
        evil = nemesis.Nemesis(self.nodes, self.net, self.say)
        self.fired = evil.fired
        self.fired.update(dict.fromkeys(guest.KINDS, 0))
        if not self.options.plant:
            moments, node = guest.plan(self.seed, self.options.seconds), self.node(len(self.nodes), len(self.nodes))
            self.guest = evil.guest = guest.Guest(node, moments, self.fired, self.say)
        history = self.folder / f"seed-{self.seed}.jsonl"
        self.began = time.monotonic()
        try:
            clients.start()
            if self.guest:
                self.guest.began = self.began
            evil.run(nemesis.plan(self.seed, self.options.nodes, self.options.seconds), self.began)
            healed = time.monotonic()
            self.recover(clients, evil, healed)
            clients.end()
            time.sleep(QUIET_S)
            self.problems += clients.read_back(time.monotonic() + READ_BACK_LIMIT_S)
            evil.watch()
            self.tell(clients.history, healed)
        finally:
            clients.stop.set()
            self.problems += evil.problems + clients.troubles() + (self.guest.problems if self.guest else [])
            clients.history.write(history)
        self.judge(history)

    def recover(self, clients, evil, healed):
        since = time.monotonic_ns()

        def serves():
            evil.watch()
            answered = clients.history.answered(since)
            return all(kinds & answered.get(number, {}).keys()
                       for number in range(1, len(self.nodes) + 1) for kinds in KINDS_SERVED)

        def is_as_before():
            evil.watch()
            return (self.guest is None or self.guest.is_gone()) and all(map(self.sees_all, self.nodes))

        try:
            self.within(RECOVERY_LIMIT_S, "each node serves everything again after the last fault", serves)
            self.say(f"each node serves everything {time.monotonic() - healed:.1f} s after the last fault")
            self.within(guest.LIMIT_S, "the node that came is gone, and all others are in the ring", is_as_before)
        except AssertionError as error:
            self.problems.append(str(error))

    def tell(self, history, healed):
        """How long each node went without answering anything."""
        began_ns = int(self.began * 1e9)
        for number, kinds in sorted(history.answered().items()):
            times = sorted(time_ns for times in kinds.values() for time_ns in times)
            moments = [began_ns, *(each for each in times if each <= healed * 1e9), int(healed * 1e9)]
            longest = max(after - before for before, after in zip(moments, moments[1:]))
            self.say(f"node {number}: {len(times)} statements answered, the longest time without one {longest / 1e9:.1f} s")
        self.say("fired: " + ", ".join(f"{kind} × {count}" for kind, count in self.fired.items()))

    def judge(self, history):
        done = subprocess.run([simulator(), "check-history", str(history)], capture_output=True, text=True, check=False,
                              timeout=CHECK_LIMIT_S)
        for line in (done.stdout + done.stderr).splitlines():
            print(f"    {line}", flush=True)
        # That something was not read back may be the end of a run that went wrong: no proof that a checker noticed.
        wrong = [line for line in done.stdout.splitlines() if line.startswith("VIOLATION") and "was not read" not in line]
        plant = self.options.plant
        if plant and wrong:
            # What such a bug breaks besides is no failure of this run.
            self.say(f"planted {plant}: found; also: {self.problems or 'nothing'}")
            self.problems.clear()
        elif plant:
            self.problems.append(f"planted {plant}: NOT found in the history")
        elif done.returncode:
            self.problems.append(f"the history is not right ({done.returncode}): {history}")
        if not self.problems and not self.options.keep:
            history.unlink()


def simulator():
    default = HERE.parent.parent / os.environ.get("CARGO_TARGET_DIR", "target") / "release" / "holon-sim"
    path = os.environ.get("HOLON_SIM") or str(default)
    if not os.path.exists(path):
        raise network.Missing(f"there is no program at {path}; `cargo build --release -p holon-sim` makes it")
    return path


def arguments():
    parser = argparse.ArgumentParser(prog="cargo xtask chaos", description="Real processes under faults, their histories checked.")
    parser.add_argument("--seed", type=int, help="of the first run; the others follow it (default: a fresh one)")
    parser.add_argument("--seconds", type=int, default=600, help="how long faults come and go in a run (default: 600)")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--nodes", type=int, default=3, choices=(3, 4, 5))
    parser.add_argument("--plant", metavar="BUG", help="of the binary built with planted bugs: the history must be found wrong")
    parser.add_argument("--keep", action="store_true", help="keep the histories of runs that passed too")
    parser.add_argument("--ci", action="store_true", help="the fixed seeds and a fresh one, 60 s each")
    return parser.parse_args()


def outside():
    """What is done before there are namespaces, and after; the exit status."""
    folder = os.environ.get("HOLON_CHAOS_FOLDER") or holon_node.scratch("chaos")
    os.makedirs(folder, exist_ok=True)
    scratch = holon_node.scratch("chaos")
    try:
        there = {"HOLON_CHAOS_FOLDER": folder, "HOLON_SCRATCH": scratch}
        return network.enter([str(HERE / "main.py"), *sys.argv[1:]], there)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def main():
    options = arguments()
    try:
        holon_node.binary(planted=bool(options.plant)), simulator()
        if os.environ.get(network.INSIDE) is None:
            return outside()
        net = network.Network(options.nodes + 1)
    except (network.Missing, RuntimeError) as error:
        print(f"chaos cannot run here: {error}\n0 passed, 1 failed")
        return 1
    # The first process of a process namespace hears no signal that it has no handler for.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    fresh = int(time.time())
    if options.ci:
        options.seconds, seeds = 60, [*CI_SEEDS, fresh]
    else:
        first = fresh if options.seed is None else options.seed
        seeds = range(first, first + options.runs)
    folder = pathlib.Path(os.environ["HOLON_CHAOS_FOLDER"])
    fired, passed, failed = dict.fromkeys(KINDS, 0), 0, 0
    for seed in seeds:
        run = Run(net, options, seed, folder)
        if run.do():
            passed += 1
        else:
            failed += 1
            plant = f" --plant {options.plant}" if options.plant else ""
            print(f"  again: cargo xtask chaos --seed {seed} --seconds {options.seconds} --nodes {options.nodes}{plant}")
        for kind, count in run.fired.items():
            fired[kind] += count
    for kind, about in KINDS.items():
        print(f"{kind:<10} fired {fired[kind]:>4} times: {about}")
    silent = [kind for kind, count in fired.items() if count == 0]
    if silent and not options.plant:
        failed += 1
        print(f"never fired in {len(seeds)} runs: {', '.join(silent)}")
    if failed or options.keep:
        print(f"histories, and what the nodes of failed runs said, are in {folder}")
    print(f"chaos: {passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
