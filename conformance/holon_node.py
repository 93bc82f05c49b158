"""A node under test: started, watched, stopped and killed. Shared by every suite of this folder.

Not a client: it knows the command line and the lines a node prints, nothing of its protocols. A node dies with the
process that started it.
"""

import ctypes
import os
import pathlib
import queue
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

CQL_PORT = 9042
KAFKA_PORT = 9092
CONSOLE_PORT = 7070
READY_LIMIT_S = 30
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def binary(planted=False):
    """The release binary, from HOLON_BINARY or from the usual place."""
    name = "HOLON_BINARY_PLANTED" if planted else "HOLON_BINARY"
    root = pathlib.Path(__file__).resolve().parent.parent
    default = root / os.environ.get("CARGO_TARGET_DIR", "target") / "release" / "holon"
    path = os.environ.get(name) or (None if planted else str(default))
    if path is None or not os.path.exists(path):
        raise RuntimeError(f"{name}: there is no program at {path}; `cargo build --release -p holon` makes it")
    return path


def scratch(name):
    """A fresh folder for a test, outside the work tree's sources."""
    base = os.environ.get("HOLON_SCRATCH")
    if base:
        os.makedirs(base, exist_ok=True)
    return tempfile.mkdtemp(prefix=f"{name}-", dir=base)


def free_address():
    """A loopback address on which nobody listens at our ports."""
    for _ in range(100):
        address = f"127.{random.randint(16, 250)}.{random.randint(0, 250)}.{random.randint(2, 250)}"
        try:
            for port in (CQL_PORT, KAFKA_PORT, CONSOLE_PORT):
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind((address, port))
            return address
        except OSError:
            continue
    raise RuntimeError("no free loopback address found in 100 tries")


def die_with_parent():
    """For a child, before it runs its program."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def plain_environment():
    """The environment without what would steer a node: a test says that itself."""
    return {name: value for name, value in os.environ.items() if not name.startswith("HOLON_")}


class Node:
    """One `holon start`."""

    def __init__(self, data_dir=None, address=None, arguments=(), environment=None, program=None, user=None):
        self.own_data = data_dir is None
        self.data_dir = data_dir or scratch("node")
        self.address = address or free_address()
        self.arguments = list(arguments)
        self.environment = dict(environment or {})
        self.program = program or binary()
        self.user = user
        self.process = None
        self.lines = []
        self._queue = None

    def command(self):
        place = ["--data-dir", str(self.data_dir), "--bind", self.address]
        return [self.program, "start", *place, *self.arguments]

    def question(self, *words):
        """The command line that asks it something: `holon status`, `holon cluster drain …`."""
        return [self.program, words[0], "--data-dir", str(self.data_dir), *words[1:]]

    def start(self, wait=True):
        """Starts it and, unless told otherwise, waits for `ready in N ms`."""
        environment = {**plain_environment(), **self.environment}
        self.lines = []
        self._queue = queue.Queue()
        self.process = subprocess.Popen(
            self.command(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", env=environment, preexec_fn=die_with_parent, user=self.user)
        threading.Thread(target=self._read, args=(self.process, self._queue), daemon=True).start()
        if wait:
            self.wait_ready()
        return self

    def _read(self, process, lines):
        for line in process.stdout:
            lines.put(line.rstrip("\n"))
        lines.put(None)

    def wait_for(self, pattern, limit_s=READY_LIMIT_S):
        """Reads its output until a line matches; the match."""
        deadline = time.monotonic() + limit_s
        while True:
            try:
                line = self._queue.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no line like {pattern!r} within {limit_s} s; it said:\n{self.said()}") from None
            if line is None:
                code = self.process.wait()
                raise AssertionError(f"it ended ({code}) before a line like {pattern!r}; it said:\n{self.said()}")
            self.lines.append(line)
            found = re.search(pattern, line)
            if found:
                return found

    def wait_ready(self, limit_s=READY_LIMIT_S):
        return int(self.wait_for(r"ready in (\d+) ms", limit_s).group(1))

    def said(self):
        self._drain()
        return "\n".join(self.lines)

    def _drain(self):
        while self._queue is not None:
            try:
                line = self._queue.get_nowait()
            except queue.Empty:
                return
            if line is not None:
                self.lines.append(line)

    def running(self):
        return self.process is not None and self.process.poll() is None

    def wait_end(self, limit_s=READY_LIMIT_S):
        """Waits until it ends by itself; its exit status."""
        code = self.process.wait(limit_s)
        time.sleep(0.1)  # the reader thread takes the last lines
        self._drain()
        return code

    def kill(self):
        """kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def terminate(self, limit_s=READY_LIMIT_S):
        """SIGTERM; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait_end(limit_s)

    def remove(self):
        self.kill()
        if self.own_data:
            shutil.rmtree(self.data_dir, ignore_errors=True)

    def memory(self, field="VmRSS"):
        """Bytes, from /proc."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            for line in status:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) * 1024
        raise AssertionError(f"{field} is not in /proc/{self.process.pid}/status")

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.remove()
