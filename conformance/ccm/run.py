"""Runs a foreign suite that starts its clusters with ccm against Holon: `run.py dtest|pydriver --source CHECKOUT FILES…`.

Not part of `cargo xtask test`: nothing of those suites is here, and they need fixed addresses, 127.0.0.1 and up, port
9042. What it needs of Python it installs into a virtual environment of its own, once; tried with Python 3.11.
"""

import argparse
import collections
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import holon_node  # noqa: E402

CASSANDRA_VERSION = "5.0.4"
# Abstract, so that it ends with this process; as wide as the addresses are.
LOCK = "\0holon-conformance-ccm"
# Of dtest: its nodes of Java need much memory, these do not, so that nothing is left out for that; nothing is tried twice.
SUITES = {
    "dtest": {"marker": "dtest_setup.py", "arguments": [
        "--disable-active-log-watching", "--delete-logs", "--force-resource-intensive-tests", "-p", "no:flaky",
        "--cassandra-version", CASSANDRA_VERSION]},
    "pydriver": {"marker": "tests/integration/__init__.py", "arguments": []},
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("suite", choices=sorted(SUITES))
    parser.add_argument("--source", required=True, type=pathlib.Path, help="a checkout of the suite")
    parser.add_argument("-k", dest="expression", help="as pytest has it")
    parser.add_argument("--limit", type=int, default=600, metavar="SECONDS", help="for each test [default: 600]")
    parser.add_argument("--ring", action="append", default=[], metavar="KEY:NODE[+NODE…]",
                        help="form clusters again until KEY's replicas are these nodes, by number (see ccmlib/ring.py)")
    parser.add_argument("files", nargs="+", help="test files of it, from its root; also FILE::TEST")
    options = parser.parse_args()
    if not (options.source / SUITES[options.suite]["marker"]).exists():
        parser.error(f"{options.source} is no checkout of {options.suite}: it has no {SUITES[options.suite]['marker']}")
    for file in options.files:
        if not (options.source / file.split("::")[0]).exists():
            parser.error(f"{options.source} has no {file}")
    try:
        options.binary = pathlib.Path(holon_node.binary()).resolve()
    except RuntimeError as error:
        parser.error(str(error))
    return options


def folder():
    """Where the virtual environments, the logs and the nodes' data are."""
    root = HERE.parent.parent
    base = os.environ.get("HOLON_SCRATCH") or root / os.environ.get("CARGO_TARGET_DIR", "target") / "foreign"
    path = pathlib.Path(base).resolve() / "ccm"
    path.mkdir(parents=True, exist_ok=True)
    return path


def take_addresses():
    """One run at a time on a machine. What is returned holds them."""
    lock = socket.socket(socket.AF_UNIX)
    try:
        lock.bind(LOCK)
    except OSError:
        sys.exit("another run of a foreign suite is under way: all of them use 127.0.0.1 and up, port 9042. Wait for its end.")
    for number in range(1, 10):
        for port in (holon_node.CQL_PORT, holon_node.KAFKA_PORT, holon_node.CONSOLE_PORT, 7000):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((f"127.0.0.{number}", port))
                except OSError as error:
                    sys.exit(f"127.0.0.{number}:{port} is taken ({error.strerror}): the suites need it. Stop what listens there.")
    return lock


def environment_of_python(suite, base):
    """A virtual environment with what `requirements-SUITE.txt` names; its Python."""
    wanted = (HERE / f"requirements-{suite}.txt").read_text(encoding="utf-8")
    place = base / f"venv-{suite}"
    stamp, python = place / "installed.txt", place / "bin" / "python"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        print(f"installing into {place}", flush=True)
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r",
                        str(HERE / f"requirements-{suite}.txt")], check=True)
        stamp.write_text(wanted, encoding="utf-8")
    return python


def settings(options, place, python):
    """The environment of the suite."""
    (place / "tmp").mkdir()
    values = {
        "PYTHONPATH": os.pathsep.join([str(HERE), str(options.source.resolve())]),
        "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1",
        "PATH": os.pathsep.join([str(python.parent), os.environ["PATH"]]),
        "TMPDIR": str(place / "tmp"), "HOLON_SCRATCH": str(place / "tmp"),
        "HOLON_BINARY": str(options.binary),
        "HOLON_CCM_SUITE": options.suite, "HOLON_CCM_RESULTS": str(place / "results.jsonl"),
        "HOLON_CCM_LOGS": str(place / "logs"), "HOLON_CCM_RING": ",".join(options.ring),
        "CASSANDRA_VERSION": CASSANDRA_VERSION, "HOLON_CCM_CASSANDRA_VERSION": CASSANDRA_VERSION,
        # The one of a checkout that was not compiled: libev is not in it, and asyncore not in Python 3.12.
        "EVENT_LOOP_MANAGER": os.environ.get("EVENT_LOOP_MANAGER",
                                             "asyncore" if sys.version_info < (3, 12) else "asyncio"),
    }
    return {**os.environ, **values}


def results(path):
    """The last word on each test, in the order of their ends: a failed teardown outdoes a passed call."""
    last = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        result = json.loads(line)
        known = last.get(result["test"])
        if known is None or result["outcome"] == "failed" and known["outcome"] != "failed":
            last[result["test"]] = result
    return list(last.values())


def kind(result):
    if result["outcome"] != "skipped":
        return result["outcome"]
    return "not here" if result["why"].startswith("not here: ") else "left out"


def closing(found, place):
    """The table, and what failed and was skipped; how many failed."""
    columns = ("passed", "failed", "not here", "left out")
    counts = collections.defaultdict(collections.Counter)
    for result in found:
        counts[result["test"].split("::")[0]][kind(result)] += 1
    width = max([len(name) for name in counts] + [5])
    print(f"\n{'file':<{width}}  " + "  ".join(f"{column:>8}" for column in columns))
    for name, count in counts.items():
        print(f"{name:<{width}}  " + "  ".join(f"{count[column]:>8}" for column in columns))
    total = collections.Counter(kind(result) for result in found)
    print(f"{'all':<{width}}  " + "  ".join(f"{total[column]:>8}" for column in columns))
    for column, title in (("failed", "failed"), ("not here", "skipped by the stand-in"), ("left out", "left out by the suite")):
        chosen = [result for result in found if kind(result) == column]
        if chosen:
            print(f"\n{title}:")
        for result in chosen:
            phase = "" if result["when"] == "call" or column != "failed" else f" ({result['when']})"
            print(f"  {result['test']}{phase}: {' '.join(result['why'].split())[:200]}")
    print(f"\nlogs: what the suite said is in {place / 'pytest.log'}, what the nodes said in {place / 'logs'}")
    return total["failed"]


def follow(command, environment, options, place):
    """Runs pytest, shows a line for each test, and keeps all of what it says; its exit status."""
    with open(place / "pytest.log", "w", encoding="utf-8") as log:
        suite = subprocess.Popen(command, cwd=options.source, env=environment, stdin=subprocess.DEVNULL, stdout=log,
                                 stderr=subprocess.STDOUT, preexec_fn=holon_node.die_with_parent)
        path, shown = pathlib.Path(environment["HOLON_CCM_RESULTS"]), 0
        while True:
            ended = suite.poll() is not None
            lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
            for line in lines[shown:]:
                result = json.loads(line)
                why = f": {' '.join(result['why'].split())[:120]}" if result["outcome"] != "passed" else ""
                print(f"{kind(result):>8} {result['seconds']:>7.1f} s  {result['test']}{why}", flush=True)
            shown = len(lines)
            if ended:
                return suite.returncode
            time.sleep(0.3)


def main():
    options = arguments()
    lock = take_addresses()
    base = folder()
    python = environment_of_python(options.suite, base)
    place = base / f"{options.suite}-{time.strftime('%Y%m%d-%H%M%S')}"
    place.mkdir()
    command = [str(python), "-m", "pytest", "-p", "suite_plugin", "-p", "no:cacheprovider", "-v", "-ra",
               f"--timeout={options.limit}", "--rootdir", str(options.source.resolve()),
               *SUITES[options.suite]["arguments"], *(["-k", options.expression] if options.expression else []),
               *options.files]
    environment = settings(options, place, python)
    print(f"{options.suite} against {options.binary}; logs in {place}", flush=True)
    code = follow(command, environment, options, place)
    lock.close()
    shutil.rmtree(place / "tmp", ignore_errors=True)
    failed = closing(results(place / "results.jsonl"), place)
    if code not in (0, 1, 5):
        print(f"pytest itself ended with {code}; see {place / 'pytest.log'}")
    return 1 if failed or code not in (0, 1) else 0


if __name__ == "__main__":
    sys.exit(main())
