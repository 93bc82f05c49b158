"""Small things that the suites take from ccm, and where this stand-in keeps what it makes."""

import os
import pathlib
import re
import socket
import time

from ccmlib.gaps import not_here

try:
    from distutils.version import LooseVersion  # the suites compare with this class
except ImportError:
    from setuptools._distutils.version import LooseVersion

# The version that nodes say they are: suites choose their tests by it.
CASSANDRA_VERSION = os.environ.get("HOLON_CCM_CASSANDRA_VERSION", "5.0.4")


class CCMError(Exception):
    """Something that was asked of the cluster could not be done."""


class ArgumentError(CCMError):
    """What was asked makes no sense."""


class UnavailableSocketError(CCMError):
    """An address is taken."""


def is_win():
    return False


def validate_install_dir(_folder):
    """There is no folder of Cassandra's programs."""


def get_version_from_build(install_dir=None, node_path=None, cassandra=False):
    return LooseVersion(CASSANDRA_VERSION)


def get_jdk_version_int(process="java"):
    return 11


def switch_cluster(path, name):
    """ccm notes which cluster its command line means; there is no command line."""


def check_socket_listening(interface, timeout=60):
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(interface, timeout=1):
                return True
        except OSError:
            time.sleep(0.1)
    return False


def platform_binary(name):
    return name


def make_cassandra_env(*_, **__):
    not_here("the environment of Cassandra's programs")


def replaces_in_file(*_, **__):
    not_here("a file of Cassandra's configuration")


def logs_folder():
    """Where nodes write what they say: a folder for each test, if run.py named one for all."""
    base = os.environ.get("HOLON_CCM_LOGS")
    if not base:
        return None
    test = os.environ.get("PYTEST_CURRENT_TEST", "outside of a test").rsplit(" (", 1)[0]
    folder = pathlib.Path(base) / re.sub(r"[^\w.-]+", "_", test.replace(".py", "")).strip("_")[-150:]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class LogPatternToVersion:
    """Lines of Cassandra's log by version. Made when a suite is loaded; asking it is not here."""

    def __init__(self, *_, **__):
        pass

    def __call__(self, *_, **__):
        not_here("a line of Cassandra's log")
