"""A plugin of pytest for foreign suites: what must not happen on this machine, and a line for each test's end.

Loaded with `-p suite_plugin` before the suite's own conftest. The suites try to clear a machine that they take for
theirs: one kills processes by name, the other turns the swap off. Here neither may.
"""

import importlib
import json
import os
import subprocess

import pytest
from ccmlib import gaps

_MISSING = pytest.StashKey()
RESULTS = "HOLON_CCM_RESULTS"
_call = subprocess.call


def _guarded_call(command, *arguments, **keywords):
    return 0 if "pkill" in command[0] else _call(command, *arguments, **keywords)


subprocess.call = _guarded_call


def pytest_configure(config):
    if os.environ.get("HOLON_CCM_SUITE") == "dtest":
        dtest = importlib.import_module("dtest")
        dtest.cleanup_docker_environment_before_test_execution = lambda: None
        dtest.running_in_docker = lambda: False
        # It edits the script of nodetool, before nodetool is called, which is what counts.
        dtest.hack_legacy_parsing = lambda _node: None
        jmx = importlib.import_module("tools.jmxutils")
        # It only prepares a JVM for being asked; the asking is not here.
        jmx.remove_perf_disable_shared_mem = lambda _node: None
        for name in ("start", "stop", "_query"):
            setattr(jmx.JolokiaAgent, name, lambda *_, **__: gaps.not_here("JMX"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """What was ported into Cassandra's own process, and is left out for that, is here run from outside as ever."""
    for item in items:
        for level in item.listchain():
            level.own_markers[:] = [mark for mark in level.own_markers if mark.name != "ported_to_in_jvm"]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A test that asked for what is not here is skipped, however it took that."""
    outcome = yield
    report = outcome.get_result()
    # In a teardown, too: what a set-up did not come to is missing there.
    item.stash[_MISSING] = asked_for = item.stash.get(_MISSING, []) + gaps.take_asked_for()
    if asked_for and report.outcome != "skipped" and not (report.when == "teardown" and report.passed):
        report.outcome = "skipped"
        report.longrepr = (str(item.path), 0, f"Skipped: not here: {asked_for[0]}")


def pytest_runtest_logreport(report):
    if report.when != "call" and report.outcome == "passed":
        return
    if report.skipped:
        text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        text = text.removeprefix("Skipped: ")
    else:
        crash = getattr(report.longrepr, "reprcrash", None)
        text = "" if report.passed else crash.message if crash else str(report.longrepr)[-300:]
    with open(os.environ[RESULTS], "a", encoding="utf-8") as results:
        results.write(json.dumps({"test": report.nodeid, "when": report.when, "outcome": report.outcome, "why": text,
                                  "seconds": round(report.duration, 1)}) + "\n")
