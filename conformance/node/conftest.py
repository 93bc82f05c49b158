"""Fixtures of the node suite. `--privileged` adds the tests that mount file systems; they need root. `--browser` adds those that
open the console in Chromium; they need it installed."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import holon_node  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--privileged", action="store_true", help="also run what needs root")
    parser.addoption("--browser", action="store_true", help="also run what needs Chromium")


def pytest_configure(config):
    config.addinivalue_line("markers", "privileged: needs root, for loop devices and mounts")
    config.addinivalue_line("markers", "browser: needs Chromium, for the console's page")


def pytest_collection_modifyitems(config, items):
    left_out = [name for name in ("privileged", "browser") if not config.getoption("--" + name)]
    chosen = [item for item in items if not any(item.get_closest_marker(name) for name in left_out)]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen


@pytest.fixture
def node():
    """A node on an empty directory, ready."""
    with holon_node.Node() as started:
        yield started


@pytest.fixture
def make_node():
    """Makes nodes that are not started; all are removed in the end."""
    made = []

    def make(**arguments):
        made.append(holon_node.Node(**arguments))
        return made[-1]

    yield make
    for each in made:
        each.remove()
