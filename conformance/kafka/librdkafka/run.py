"""librdkafka's own tests against one node: `run.py [--full] [-k WORD] [NUMBER…]`.

Its sources are not here: cargo fetches the crate `rdkafka-sys`, which carries them, by version and checksum (`source/Cargo.lock`);
they are built once. Every test that speaks to a broker is run by itself. `expected.txt` names those that do not pass, with the reason:
a test that does otherwise than it says, in either direction, fails the run. What librdkafka marks as local, and what `expected.txt`
marks as a mock, never speaks to a broker and is not counted.
"""

import argparse
import collections
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))
import holon_node  # noqa: E402

CRATE = "rdkafka-sys"
KAFKA_PORT = 9092
#: What the tests take the broker for.
KAFKA_VERSION = "4.1.0"
#: Only what the tests need: no TLS, no SASL; codecs that it brings itself, and zlib.
CONFIGURE = ["--no-download", "--disable-debug-symbols", "--disable-ssl", "--disable-gssapi", "--disable-curl",
             "--disable-zstd", "--disable-lz4-ext"]
#: Scenarios of librdkafka's tests (`tests/scenarios`), and what a node is told for them.
SCENARIOS = {
    "default": ["--topic-partitions", "4"],
    "noautocreate": ["--topic-partitions", "4", "--auto-create-topics", "false"],
}
#: Words of `expected.txt`: what becomes of a test. `parts` names subtests (+ for a space), each of which is
#: then run as a test of its own.
FAILS, SKIPS, MOCK, LONG, ALONE, PARTS = KINDS = "fails", "skips", "mock", "long", "alone", "parts"


@dataclasses.dataclass
class Test:
    name: str
    flags: str
    scenario: str
    #: The name of one of its subtests; empty: all of it.
    part: str = ""

    @property
    def title(self):
        return f"{self.name}:{self.part}" if self.part else self.name

    @property
    def number(self):
        return self.name.partition("_")[0]

    @property
    def is_local(self):
        return "TEST_F_LOCAL" in self.flags


@dataclasses.dataclass
class Outcome:
    test: Test
    state: str
    why: str
    seconds: float


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="also those that expected.txt calls long or alone")
    parser.add_argument("-k", dest="word", default="", help="only tests with this in their names")
    parser.add_argument("--jobs", type=int, default=8, help="tests at a time: most of them wait [default: 8]")
    parser.add_argument("--limit", type=int, default=400, metavar="SECONDS", help="for each test [default: 400]")
    parser.add_argument("--target", metavar="HOST:PORT", help="another broker than a node of Holon")
    parser.add_argument("numbers", nargs="*", help="only these, by number: 0004")
    return parser.parse_args()


def folder():
    """Where the sources, the programs and the logs are."""
    root = HERE.parent.parent.parent
    base = os.environ.get("HOLON_SCRATCH") or root / os.environ.get("CARGO_TARGET_DIR", "target") / "foreign"
    path = pathlib.Path(base).resolve() / "librdkafka"
    path.mkdir(parents=True, exist_ok=True)
    return path


def call(*command, log, **settings):
    """Runs a step of the build; what it says goes to a log, and is shown if it fails."""
    with open(log, "a", encoding="utf-8") as out:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, check=False, **settings)
    if done.returncode != 0:
        said = log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:]
        sys.exit(f"{' '.join(map(str, command))} failed ({done.returncode}):\n" + "\n".join(said))


def crate():
    """The folder of the crate's sources, as cargo fetched and checked them."""
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--manifest-path", str(HERE / "source" / "Cargo.toml")]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"cargo cannot fetch {CRATE}: {done.stderr}")
    found = next(package for package in json.loads(done.stdout)["packages"] if package["name"] == CRATE)
    return pathlib.Path(found["manifest_path"]).parent, found["version"]


def built(base):
    """The folder `tests` with its programs; made when it is not there yet."""
    sources, version = crate()
    place = base / f"{CRATE}-{version}"
    stamp, wanted = place / "built.txt", " ".join(CONFIGURE)
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return place / "tests"
    began = time.monotonic()
    print(f"building librdkafka {version} and its tests in {place}", flush=True)
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(sources / "librdkafka", place)
    log = base / "build.txt"
    log.unlink(missing_ok=True)
    call("./configure", *CONFIGURE, log=log, cwd=place)
    jobs = f"-j{os.cpu_count()}"
    for part in ("src", "src-cpp"):
        call("make", jobs, "-C", part, log=log, cwd=place)
    call("make", jobs, "-C", "tests", "build", log=log, cwd=place)
    stamp.write_text(wanted, encoding="utf-8")
    print(f"built in {time.monotonic() - began:.0f} s", flush=True)
    return place / "tests"


def tests_of(tests):
    """All that the suite has, from the table in its test.c."""
    table = (tests / "test.c").read_text(encoding="utf-8").partition("struct test tests[] = {")[2].partition("{NULL}};")[0]
    found = []
    for entry in re.split(r"\b_TEST\(", table)[1:]:
        name, flags = (part.strip() for part in (entry + ",").split(",")[:2])
        scenario = re.search(r'\.scenario\s*=\s*"([^"]*)"', entry)
        found.append(Test(name, flags.rstrip(")"), scenario[1].split(",")[0] if scenario else "default"))
    if len(found) < 100:
        sys.exit(f"only {len(found)} tests found in {tests / 'test.c'}: is its table written otherwise now?")
    return found


def expected():
    """Of those that do not simply pass: what is expected, and why."""
    known = {}
    for line in (HERE / "expected.txt").read_text(encoding="utf-8").splitlines():
        words = line.partition("#")[0].split(maxsplit=2)
        if not words:
            continue
        if len(words) != 3 or words[1] not in KINDS or words[0] in known:
            sys.exit(f"expected.txt: no line of the form NAME {'|'.join(KINDS)} REASON, or not the first: {line}")
        known[words[0]] = (words[1], words[2])
    return known


def in_parts(tests, known):
    """Those whose line says `parts` are replaced by these."""
    for test in tests:
        kind, words = known.get(test.name, (None, ""))
        if kind == PARTS:
            yield from (dataclasses.replace(test, part=word) for word in words.split())
        else:
            yield test


class Runner:
    """Runs tests of one scenario against one broker."""

    def __init__(self, options, tests, place, bootstrap):
        self.options, self.tests, self.place = options, tests, place
        place.mkdir()
        self.conf = place / "test.conf"
        self.conf.write_text(f"metadata.broker.list={bootstrap}\n", encoding="utf-8")
        libraries = os.pathsep.join(str(tests.parent / part) for part in ("src", "src-cpp"))
        plain = {name: value for name, value in os.environ.items() if name != "CI"}
        self.environment = {**plain, "LD_LIBRARY_PATH": libraries, "RDKAFKA_TEST_CONF": str(self.conf),
                            "TEST_KAFKA_VERSION": KAFKA_VERSION, "BROKERS": bootstrap, "KAFKA_PATH": str(HERE),
                            "PATH": os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ["PATH"]])}

    def run(self, chosen):
        """All tests of a number that are not local, one after the other; an outcome for each of the chosen."""
        number, part = chosen[0].number, chosen[0].part
        own = self.place / f"{number}-{part}".rstrip("-")
        own.mkdir()
        environment = {**self.environment, "TESTS": number, **({"SUBTESTS": part.replace("+", " ")} if part else {})}
        command = [str(self.tests / "test-runner"), "-p1", "-L", "-s", chosen[0].scenario]
        began = time.monotonic()
        with open(own / "said.txt", "w", encoding="utf-8") as said:
            process = subprocess.Popen(command, cwd=own, env=environment, stdin=subprocess.DEVNULL, stdout=said,
                                       stderr=subprocess.STDOUT, preexec_fn=holon_node.die_with_parent)
            try:
                code = process.wait(self.options.limit)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                code = f"not done within {self.options.limit} s"
        seconds = time.monotonic() - began
        said = (own / "said.txt").read_text(encoding="utf-8", errors="replace")
        return [self.outcome(test, code, said, seconds) for test in chosen]

    @staticmethod
    def outcome(test, code, said, seconds):
        """From the table that the program prints at its end; without one it ended early, and the last error says why."""
        plain = re.sub(r"\033\[[0-9;]*m", "", said)
        row = re.search(rf"^\| {test.name} +\| +(\w+) \| +([\d.]+)s +\|(.*)$", plain, re.MULTILINE)
        part = re.escape(test.part.replace("+", " "))
        if row and row[1] == "PASSED" and part and not re.search(rf"\[ [^\]]*{part}[^\]]*: PASS", plain):
            return Outcome(test, "failed", "it has no such subtest", float(row[2]))
        if row and row[1] in ("PASSED", "SKIPPED"):
            why = row[3].strip() or "it did not say why"
            return Outcome(test, row[1].lower(), why if row[1] == "SKIPPED" else "", float(row[2]))
        if not row and re.search(rf"= Test {test.name} PASSED =", plain):
            return Outcome(test, "passed", "", seconds)  # another of the same number ended the program
        failures = re.findall(r"TEST FAILURE\s*(?:###.*\n)?(.*)", plain)
        why = (row[3].strip() if row else "") or (" ".join(failures[0].split()) if failures else "")
        return Outcome(test, "failed", why or f"the program ended with {code}", float(row[2]) if row else seconds)


def judge(outcome, known):
    """The word for an outcome and whether it is as expected."""
    kind, _ = known.get(outcome.test.title, (None, None))
    wanted = {FAILS: "failed", SKIPS: "skipped"}.get(kind, "passed")
    if outcome.state == wanted:
        return {"passed": "passed", "failed": "fails as expected", "skipped": "skips as expected"}[wanted], True
    return f"{outcome.state.upper()}, not {wanted}", False


def choose(options, tests, known):
    """By number, those to run; and how many are left out, by why."""
    chosen, left = collections.defaultdict(lambda: collections.defaultdict(list)), collections.Counter()
    for test in tests:
        kind = known.get(test.title, (None, None))[0]
        named = test.number in options.numbers
        if options.word not in test.title or options.numbers and not named:
            continue
        if test.is_local or kind == MOCK:
            left["local"] += 1
        elif "TEST_F_MANUAL" in test.flags:
            left["manual"] += 1
        elif test.scenario not in SCENARIOS:
            left["scenario"] += 1
        elif kind in (LONG, ALONE) and not options.full and not named:
            left["long"] += 1
        else:
            chosen[test.scenario][test.number, test.part].append(test)
    return chosen, left


def run_side_by_side(jobs, work, known):
    """`work` is of pairs: who runs, and which tests."""
    outcomes = []
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        waiting = [pool.submit(runner.run, tests) for runner, tests in work]
        for done in concurrent.futures.as_completed(waiting):
            for outcome in done.result():
                word, fits = judge(outcome, known)
                why = f": {outcome.why[:160]}" if outcome.why and not fits else ""
                print(f"{outcome.seconds:>7.1f} s  {outcome.test.title}: {word}{why}", flush=True)
                outcomes.append(outcome)
    return outcomes


def run_all(options, tests, place, chosen, known):
    """The outcomes, and how many nodes ended by themselves. A node for each scenario; first what may run beside others."""
    nodes, beside, alone = [], [], []
    try:
        for scenario, of_it in chosen.items():
            node = None if options.target else holon_node.Node(arguments=SCENARIOS[scenario]).start()
            nodes += [] if node is None else [node]
            runner = Runner(options, tests, place / scenario, options.target or f"{node.address}:{KAFKA_PORT}")
            for several in of_it.values():
                kinds = {known.get(test.title, (None, None))[0] for test in several}
                (alone if ALONE in kinds else beside).append((runner, several))
        outcomes = run_side_by_side(options.jobs, beside, known) + run_side_by_side(1, alone, known)
        ended = [node for node in nodes if not node.running()]
        for node in ended:
            print(f"the node ended during the suite; it said:\n{node.said()[-4000:]}")
        return outcomes, len(ended)
    finally:
        for node in nodes:
            node.remove()


def main():
    options = arguments()
    base = folder()
    tests, known = built(base), expected()
    table = list(in_parts(tests_of(tests), known))
    unknown = sorted(set(known) - {name for test in table for name in (test.name, test.title)})
    if unknown:
        sys.exit(f"expected.txt names tests that do not exist: {unknown}")
    chosen, left = choose(options, table, known)
    place = base / time.strftime("run-%Y%m%d-%H%M%S")
    place.mkdir()
    began = time.monotonic()
    outcomes, ended = run_all(options, tests, place, chosen, known)
    wrong = [outcome for outcome in outcomes if not judge(outcome, known)[1]]
    for outcome in sorted(wrong, key=lambda outcome: outcome.test.title):
        print(f"\n{outcome.test.title}: {judge(outcome, known)[0]}: {outcome.why}")
    passed = sum(outcome.state == "passed" for outcome in outcomes if outcome not in wrong)
    listed = len(outcomes) - len(wrong) - passed
    print(f"\nlogs: {place}\nnot run: {left['local']} that speak to no broker, {left['long']} that take long or measure time (--full), {left['manual']} by"
          f" hand, {left['scenario']} of other scenarios; skipped are those that expected.txt says do not pass; {time.monotonic() - began:.0f} s")
    print(f"librdkafka: {passed} passed, {len(wrong) + ended} failed, {listed} skipped")
    return 1 if wrong or ended or not outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
