"""Fixtures of the node suite. `--privileged` adds the tests that mount file systems; they need root. Those that open
the console in Chromium run where it is installed; with `--browser` it has to be."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import chromium  # noqa: E402
import clusters  # noqa: E402
import holon_node  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--privileged", action="store_true", help="also run what needs root")
    parser.addoption("--browser", action="store_true", help="run what needs Chromium, installed or not")


def pytest_configure(config):
    config.addinivalue_line("markers", "privileged: needs root, for loop devices and mounts")
    config.addinivalue_line("markers", "browser: needs Chromium, for the console's page")


def pytest_collection_modifyitems(config, items):
    wanted = {"privileged": config.getoption("--privileged"),
              "browser": config.getoption("--browser") or chromium.program() is not None}
    left_out = [name for name, chosen in wanted.items() if not chosen]
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


@pytest.fixture
def cluster(make_node):
    """Makes clusters; their sessions are closed at the end."""
    made = []

    def make(**options):
        made.append(clusters.Three(make_node, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()
