"""One node of a cluster: a Holon process, by the names of ccm."""

import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import time

import holon_node
from ccmlib import common, nodetool, stress
from ccmlib.common import LooseVersion
from ccmlib.gaps import Gaps, not_here

NODE_WAIT_TIMEOUT_IN_SECS = 120
JOIN_LIMIT_S = 60
NOTICE_LIMIT_S = 60
QUIET_S = 2
PEER_PORT = 7000
# Small, as many nodes are on one machine.
_SIZE = shlex.split(os.environ.get("HOLON_CCM_ARGUMENTS", "--memory 512MiB --shards 2"))
_REPLACE = ("-Dcassandra.replace_address=", "-Dcassandra.replace_address_first_boot=")
# Flags of the JVM that steer what Holon has no need of; any other one skips the test.
_FLAGS_WITHOUT_EFFECT = (
    "-Dcassandra.allow_simplestrategy", "-Dcassandra.broadcast_interval_ms", "-Dcassandra.custom_query_handler_class",
    "-Dcassandra.failed_bootstrap_timeout_ms", "-Dcassandra.reset_bootstrap_progress", "-Dcassandra.ring_delay_ms",
    "-Dcassandra.size_recorder_interval", "-Dcassandra.skip_schema_check", "-Dcassandra.streaming",
    "-Dcassandra.test.skip_cms_reconfig_after_topology_change", "-Xm", "-XX:",
)
# The kernel kills a node when the thread that started it ends (`holon_node.die_with_parent`), and tests start nodes in
# threads of theirs: this one lasts as long as the run.
_starter = concurrent.futures.ThreadPoolExecutor(1)


class NodeError(Exception):
    """A node that did not do as it was told."""

    def __init__(self, message, process=None):
        super().__init__(message)
        self.process = process


class TimeoutError(Exception):  # the suites import this name
    """Something did not come in time."""


class ToolError(Exception):
    """A command of nodetool, or of another program, failed."""

    def __init__(self, command, exit_status, stdout=None, stderr=None):
        super().__init__(f"{command} failed: exit status {exit_status}; stdout: {stdout}; stderr: {stderr}")
        self.command, self.exit_status, self.stdout, self.stderr = command, exit_status, stdout, stderr
        self.message = str(self)


def handle_external_tool_process(*_, **__):
    not_here("a program of Cassandra's")


class _Process(holon_node.Node):
    """One that also writes what it says to a file."""

    log = None

    def _read(self, process, lines):
        with open(self.log, "a", encoding="utf-8", errors="replace") as log:
            for line in process.stdout:
                log.write(line)
                log.flush()
                lines.put(line.rstrip("\n"))
        lines.put(None)


class Node(Gaps):
    def __init__(self, name, cluster, auto_bootstrap, thrift_interface, storage_interface, jmx_port,
                 remote_debug_port, initial_token, save=True, binary_interface=None, byteman_port="0", **_):
        self.name, self.cluster, self.auto_bootstrap = name, cluster, auto_bootstrap
        self.jmx_port, self.initial_token, self.byteman_port = jmx_port, initial_token, byteman_port
        address = (binary_interface or storage_interface)[0]
        self.network_interfaces = {"binary": (address, 9042), "storage": (address, PEER_PORT), "thrift": None}
        self.data_center = self.rack = None
        self.workloads = []
        self._config_options = {}
        self._folder = pathlib.Path(cluster.get_path()) / name
        self._holon = _Process(data_dir=self._folder / "data", address=address)
        self._paused = self.joins = False

    # What it is

    def address(self):
        return self._holon.address

    @property
    def ip_addr(self):
        return self.address()

    def address_and_port(self):
        return f"{self.address()}:{PEER_PORT}"

    address_for_current_version = address_and_port

    def address_for_current_version_slashy(self):
        return f"/{self.address_and_port()}"

    @property
    def process(self):
        return self._holon.process

    @property
    def pid(self):
        return self._holon.process.pid if self._holon.process else None

    def is_running(self):
        return self._holon.running()

    def is_live(self):
        return self.is_running()

    def get_path(self):
        return str(self._folder)

    def get_install_dir(self):
        return self.cluster.get_install_dir()

    def set_install_dir(self, *_, **__):
        """There is one program: HOLON_BINARY."""

    def get_cassandra_version(self):
        return LooseVersion(common.CASSANDRA_VERSION)

    def set_workloads(self, workloads):
        self.workloads = list(workloads)
        if workloads:
            not_here("workloads of DSE")

    def set_configuration_options(self, values=None, batch_commitlog=None):
        self._config_options.update(values or {})

    def import_config_files(self):
        """Options are read when the node starts."""

    def get_conf_option(self, option):
        return {**self.cluster._config_options, **self._config_options}.get(option)

    def get_conf_dir(self):
        """Of what a test may write there, only `cassandra-rackdc.properties` is read: where the node stands."""
        folder = self._folder / "conf"
        folder.mkdir(parents=True, exist_ok=True)
        return str(folder)

    def show(self, **_):
        print(f"{self.name} at {self.address()}: {'runs' if self.is_running() else 'stopped'}")

    # Starting

    def start(self, join_ring=True, no_wait=False, verbose=False, update_pid=True, wait_other_notice=True,
              replace_token=None, replace_address=None, jvm_args=None, wait_for_binary_proto=True, **_):
        """Waits until it is ready, those that run see it, and, if it is new, it has joined; `no_wait`: for nothing.

        A node that cannot join yet, because a replica is down, is not waited for for ever: the test sees that it has not.
        """
        if self.is_running():
            return self.process
        if not join_ring or replace_token:
            not_here("a node outside of the ring" if not join_ring else "the replacement of a token")
        flags = " ".join(jvm_args or []).split()
        unknown = [flag for flag in flags if not flag.startswith((*_REPLACE, *_FLAGS_WITHOUT_EFFECT))]
        if unknown:
            not_here(f"a flag of the JVM: {unknown[0].split('=')[0]}")
        for flag in flags:
            replace_address = flag.split("=", 1)[1] if flag.startswith(_REPLACE) else replace_address
        self._launch(replace_address)
        if not no_wait:
            self.wait_ready()
            if self.joins:
                self.wait_quiet([self], JOIN_LIMIT_S)
            if wait_other_notice:
                self._wait_noticed(True)
        return self.process

    def _launch(self, replace_address):
        is_new = not self._holon.data_dir.exists()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._holon.log = self.logfilename()
        door = "{}:{}".format(*self.network_interfaces["binary"])
        self._holon.arguments = [*_SIZE, "--insecure", "--cluster-name", self.cluster.name, "--cql-address", door,
                                 *self._place(), *self._doors()]
        if self.cluster.formed:
            self._holon.arguments += ["--join", ",".join(self._others())]
        if replace_address and is_new:
            self._holon.arguments += ["--replace", replace_address.lstrip("/").split(":")[0]]
        self.joins = is_new and self.cluster.formed
        _starter.submit(self._holon.start, wait=False).result()
        self.cluster.formed = True

    def _place(self):
        file = self._folder / "conf" / "cassandra-rackdc.properties"
        written = dict(re.findall(r"^\s*(dc|rack)\s*=\s*(\S+)", file.read_text(encoding="utf-8"), re.M)) if file.exists() else {}
        known = {"dc": self.data_center, "rack": self.rack} if self.cluster.has_data_centers else {}
        options = (("--data-center", {**known, **written}.get("dc")), ("--rack", {**known, **written}.get("rack")))
        return [word for option, value in options if value for word in (option, value)]

    def _doors(self):
        """What clients must prove; what Holon has no like of and would change who may come in is not here."""
        authenticator, authorizer = (str(self.get_conf_option(option) or "AllowAll")
                                     for option in ("authenticator", "authorizer"))
        if "AllowAll" not in authorizer:
            not_here("permissions")
        for option in ("client_encryption_options", "server_encryption_options"):
            if self.get_conf_option(option):
                not_here(option)
        if "AllowAll" in authenticator:
            return []
        if "PasswordAuthenticator" not in authenticator:
            not_here(f"the authenticator {authenticator}")
        return ["--auth", "password"]

    def _others(self):
        others = [node for node in self.cluster.nodelist() if node is not self]
        return [node.address_and_port() for node in [each for each in others if each.is_running()] or others]

    def wait_ready(self):
        try:
            self._holon.wait_ready()
        except AssertionError as error:
            raise NodeError(f"{self.name} did not start: {error}", self.process) from None

    def wait_quiet(self, nodes, limit_s):
        """Until these are in the ring and nothing was on its way for a while: the next change may follow a second after the
        last, as a larger cluster gets a finer ring. Whether it came to that."""
        deadline, quiet_since = time.monotonic() + limit_s, None
        while time.monotonic() < deadline:
            quiet_since = (quiet_since or time.monotonic()) if self.sees_all(nodes, settled=True) else None
            if quiet_since and time.monotonic() - quiet_since > QUIET_S:
                return True
            time.sleep(0.1)
        return False

    # Stopping

    def stop(self, wait=True, wait_other_notice=True, signal_event=None, gently=True, **_):
        """SIGTERM, or kill -9."""
        if not self.is_running():
            return False
        self._holon.process.send_signal(signal.SIGTERM if gently else signal.SIGKILL)
        self.resume()
        if wait or wait_other_notice:
            self.wait_end()
        if wait_other_notice:
            self._wait_noticed(False)
        return True

    def wait_end(self, limit_s=NODE_WAIT_TIMEOUT_IN_SECS):
        try:
            self._holon.wait_end(limit_s)
        except subprocess.TimeoutExpired:
            raise NodeError(f"{self.name} did not stop within {limit_s} s", self.process) from None

    def kill(self):
        self._holon.kill()

    def clear(self, *_, **__):
        """Takes its data."""
        shutil.rmtree(self._holon.data_dir, ignore_errors=True)

    def pause(self):
        self._holon.process.send_signal(signal.SIGSTOP)
        self._paused = True

    def resume(self):
        if self._paused:
            self._holon.process.send_signal(signal.SIGCONT)
        self._paused = False

    # What it sees

    def holon(self, *words, limit_s=NODE_WAIT_TIMEOUT_IN_SECS):
        """One of its own commands: the exit status, and what it said."""
        try:
            done = subprocess.run(self._holon.question(*words), capture_output=True, text=True, timeout=limit_s, check=False,
                                  env=holon_node.plain_environment())
        except subprocess.TimeoutExpired:
            raise ToolError(" ".join(words), "none", "", f"not done within {limit_s} s") from None
        return done.returncode, done.stdout + done.stderr

    def view(self):
        """The cluster as `holon status` of this node has it. Empty while it does not answer."""
        code, text = self.holon("status", "--format", "json") if self.is_running() else (1, "")
        return json.loads(text[text.index("{"):]).get("cluster") or {} if code == 0 else {}

    def members(self):
        """By address."""
        return {member["address"].split(":")[0]: member for member in self.view().get("nodes", [])}

    def sees_all(self, nodes, settled=False):
        """Whether it takes all of these for up and in the ring; `settled`: and no data is on its way between nodes."""
        view = self.view()
        states = {member["address"].split(":")[0]: (member["state"], member["member"]) for member in view.get("nodes", [])}
        is_in = all(states.get(node.address()) == ("up", "normal") for node in nodes)
        return is_in and not (settled and (view["change"] or view["moves"]))

    def sees(self, other):
        """Whether it takes the other one for up, and how far that is in the ring."""
        member = self.members().get(other.address())
        return (member["state"], member["member"]) if member else (None, None)

    def _wait_noticed(self, is_up):
        """Until the nodes that run see that this one is there, or is not."""
        others = [node for node in self.cluster.nodelist() if node is not self and node.is_running() and not node._paused]
        self._wait_for(others, is_up, NOTICE_LIMIT_S)

    def _wait_for(self, nodes, is_up, limit_s):
        deadline = time.monotonic() + limit_s
        for node in nodes:
            while node.sees(self)[0] not in (("up",) if is_up else ("down", "stopped", None)):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{node.name} does not see within {limit_s} s that {self.name} is "
                                       f"{'up' if is_up else 'down'}")
                time.sleep(0.1)

    def watch_log_for_death(self, nodes, from_mark=None, timeout=600, filename=None):
        for node in nodes if isinstance(nodes, (list, tuple)) else [nodes]:
            node._wait_for([self], False, timeout)

    def watch_log_for_alive(self, nodes, from_mark=None, timeout=120, filename=None):
        for node in nodes if isinstance(nodes, (list, tuple)) else [nodes]:
            node._wait_for([self], True, timeout)

    def wait_for_binary_interface(self, **_):
        if not common.check_socket_listening(self.network_interfaces["binary"], NODE_WAIT_TIMEOUT_IN_SECS):
            raise TimeoutError(f"{self.name} does not listen at {self.network_interfaces['binary']}")

    # Its log. Lines of Cassandra's are not in it, so that whether one was written cannot be said.

    def log_directory(self):
        return str(common.logs_folder() or self._folder)

    def logfilename(self):
        if self._holon.log is None:
            return str(pathlib.Path(self.log_directory()) / f"{self.name}.log")
        return self._holon.log

    def mark_log(self, filename=None):
        """A place in the log, for those that ask for lines after it."""
        path = pathlib.Path(self.logfilename())
        return path.stat().st_size if path.exists() else 0

    def watch_log_for(self, lines, from_mark=None, timeout=600, **_):
        lines = [lines] if isinstance(lines, str) else list(lines)
        if lines != ["Starting listening for CQL clients"]:
            not_here(f"a line of Cassandra's log: {lines[0][:60]}")
        self.wait_for_binary_interface()

    def grep_log(self, line, **_):
        not_here(f"a line of Cassandra's log: {line[:60]}")

    def grep_log_for_errors(self, *_, **__):
        """What Holon itself calls an error, and panics, each as a list of one line."""
        path = pathlib.Path(self.logfilename())
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
        return [[line] for line in lines if " ERROR " in line or "panicked at" in line]

    # What can be asked of it

    def nodetool(self, command, username=None, password=None, capture_output=True, wait=True):
        return nodetool.run(self, command)

    def flush(self, options=None):
        self.nodetool("flush")

    def compact(self, keyspace="", tables=()):
        self.nodetool(" ".join(["compact", keyspace, *tables]).strip())

    def repair(self, options=(), **_):
        return self.nodetool(" ".join(["repair", *options]))

    def cleanup(self):
        self.nodetool("cleanup")

    def decommission(self, force=False):
        self.nodetool("decommission --force" if force else "decommission")

    def stress(self, stress_options=(), capture_output=False, whitelist=False, **_):
        stress.run(self, stress_options)
        return nodetool.Answer("", "", 0)

    def removeToken(self, token):
        self.nodetool(f"removenode {token}")

    def hostid(self, *_, **__):
        return self.members()[self.address()]["id"]

    def run_cqlsh(self, cmds=None, cqlsh_options=None, show_output=False, terminator=";", return_output=True, **_):
        """The stock shell, over what is given, statements ended by `terminator`."""
        statements = "\n".join(part.strip() + ";" for part in (cmds or "").split(terminator) if part.strip())
        words = ["cqlsh", *(cqlsh_options or []), self.address(), "9042"]
        done = subprocess.run(words, input=statements, capture_output=True, text=True, check=False,
                              timeout=NODE_WAIT_TIMEOUT_IN_SECS)
        if show_output:
            print(done.stdout, done.stderr)
        return nodetool.Answer(done.stdout, done.stderr, done.returncode)
