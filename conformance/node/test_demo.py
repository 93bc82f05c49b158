"""`holon demo`: it runs through and keeps its promises, leaves nothing behind however it ends, says which port is taken, and gives
the terminal back as it was."""

import fcntl
import os
import pty
import random
import re
import select
import signal
import socket
import struct
import subprocess
import termios
import time

import holon_node
import pytest
from clusters import eventually

ACTS = ("load", "steady", "a node is killed", "it comes back", "a node joins", "a node is cut off", "it is healed")
SMALL = ("--seconds", "2", "--flights", "3000")
RUN_LIMIT_S = 180


def free_base():
    """The address of the first of five nodes side by side, whose doors are free."""
    for _ in range(100):
        second, third, fourth = random.randint(16, 250), random.randint(0, 250), random.randint(1, 240)
        try:
            for number in range(5):
                for ip in (f"127.{second}.{third}.{fourth + number}", f"127.{second}.{third + 1}.{fourth + number}"):
                    for port in (holon_node.CQL_PORT, holon_node.CONSOLE_PORT, 7000):
                        with socket.socket() as probe:
                            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                            probe.bind((ip, port))
            return f"127.{second}.{third}.{fourth}"
        except OSError:
            continue
    raise RuntimeError("no free loopback addresses found in 100 tries")


def processes_of(base):
    """The nodes of a demo, by the address of the first: what runs with an address beside it."""
    beside = base.rsplit(".", 1)[0] + "."
    found = []
    for entry in os.listdir("/proc"):
        try:
            with open(f"/proc/{int(entry)}/cmdline", "rb") as file:
                words = file.read().decode(errors="replace").split("\0")
        except (ValueError, OSError):
            continue
        if "start" in words and any(word.startswith(beside) for word in words):
            found.append(int(entry))
    return found


class Demo:
    """One `holon demo`, with temporary files in a folder of its own."""

    def __init__(self, folder, *arguments, base=None, stdout=subprocess.PIPE, plant=None, **options):
        self.base = base or free_base()
        self.folder = folder
        environment = holon_node.plain_environment()
        environment.update(TMPDIR=str(folder), TERM="xterm-256color")
        if plant is not None:
            environment["HOLON_TEST_PLANT"] = plant
        command = [holon_node.binary(planted=plant is not None), "demo", "--from", self.base, *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.STDOUT, text=True,
                                        env=environment, preexec_fn=holon_node.die_with_parent, **options)
        self.lines = []

    def read_until(self, pattern, limit_s=RUN_LIMIT_S):
        """Reads lines until one matches, or to the end."""
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            line = self.process.stdout.readline()
            if not line:
                break
            self.lines.append(line.rstrip("\n"))
            if re.search(pattern, line):
                return line
        raise AssertionError(f"no line like {pattern!r}; it said:\n" + "\n".join(self.lines))

    def end(self):
        """All that it still says, and its exit status."""
        said, _ = self.process.communicate(timeout=RUN_LIMIT_S)
        self.lines += said.splitlines()
        return self.process.returncode

    def leaves_nothing(self):
        eventually("no node is left", lambda: not processes_of(self.base), limit_s=20)
        assert os.listdir(self.folder) == []


@pytest.fixture
def demo(tmp_path):
    """Makes demos; none outlives its test."""
    made = []

    def make(*arguments, **options):
        folder = tmp_path / f"demo{len(made)}"
        folder.mkdir()
        made.append(Demo(folder, *arguments, **options))
        return made[-1]

    yield make
    for each in made:
        each.process.kill()
        each.process.wait()


def test_every_act_is_told_and_every_promise_kept(demo):
    told = demo("--script", *SMALL)
    code = told.end()
    text = "\n".join(told.lines)
    assert code == 0, text
    for number, act in enumerate(ACTS, 1):
        assert f"act {number} of 7: {act}" in text, text
    assert "8 of 8 promises kept" in text and "NOT KEPT" not in text, text
    stamps = [float(found) for found in re.findall(r"^\[ *([0-9.]+) s\] ", text, re.MULTILINE)]
    assert stamps == sorted(stamps) and len(stamps) > 20, text
    assert "\x1b" not in text, "a plain log has no colours"
    # The numbers behind the promises are those of a cluster that worked.
    assert re.search(r"3,000 acknowledged at QUORUM .* 3,000 counted at QUORUM", text), text
    assert int(re.search(r"([\d,]+) hints kept, ", text).group(1).replace(",", "")) > 0, text
    assert int(re.search(r"([\d,]+) tablets moved", text).group(1).replace(",", "")) > 0, text
    assert re.search(r"through node 3, cut off: 0 served, [1-9]", text), text
    told.leaves_nothing()


@pytest.mark.skipif("HOLON_BINARY_PLANTED" not in os.environ, reason="needs the binary with planted bugs")
def test_a_bug_that_loses_what_was_acknowledged_is_a_broken_promise(demo):
    told = demo("--script", *SMALL, plant="ignore_digests")
    assert told.end() == 1
    text = "\n".join(told.lines)
    assert "NOT KEPT  nothing that was acknowledged is lost" in text and re.search(r"[1-9]\d* wrong: gate \d+: ", text), text
    told.leaves_nothing()


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_the_middle_leaves_no_process_and_no_directory(demo, number, code):
    told = demo("--script", *SMALL)
    told.read_until("act 2 of 7")
    assert len(processes_of(told.base)) == 3 and len(os.listdir(told.folder)) == 1
    told.process.send_signal(number)
    assert told.end() == code, "\n".join(told.lines)
    told.leaves_nothing()


def test_a_named_directory_is_kept_and_has_to_be_new(demo, tmp_path):
    place = tmp_path / "kept"
    told = demo("--script", *SMALL, "--dir", str(place))
    told.read_until("act 1 of 7")
    told.process.send_signal(signal.SIGINT)
    told.end()
    told.leaves_nothing()
    assert {"node1", "node1.log"} <= set(os.listdir(place))
    again = demo("--script", *SMALL, "--dir", str(place))
    assert again.end() == 1 and "is not empty" in "\n".join(again.lines)


def test_nodes_end_when_the_demo_is_killed(demo):
    told = demo("--script", *SMALL)
    told.read_until("act 2 of 7")
    assert len(processes_of(told.base)) == 3
    told.process.kill()
    eventually("the nodes end by themselves", lambda: not processes_of(told.base), limit_s=20)


@pytest.mark.parametrize("port, kind", [
    (9042, "for Cassandra clients"), (9092, "for Kafka clients"), (7070, "of the console"), (7000, "for other nodes")])
def test_a_port_that_is_taken_is_named_with_the_way_out(demo, port, kind):
    base = free_base()
    second = f"{base.rsplit('.', 1)[0]}.{int(base.rsplit('.', 1)[1]) + 1}"
    with socket.socket() as other:
        other.bind((second, port))
        other.listen()
        told = demo("--script", *SMALL, base=base)
        assert told.end() == 1
    text = "\n".join(told.lines)
    for word in (f"{second}:{port}", kind, "node 2", "another process", "--from"):
        assert word in text, text
    assert len(told.lines) == 1, text
    told.leaves_nothing()


def test_values_out_of_range_are_refused(demo):
    for arguments in (("--nodes", "2"), ("--seconds", "0"), ("--flights", "99999999"), ("--from", "10.0.0.1")):
        refused = demo("--script", *arguments)
        assert refused.end() != 0 and arguments[0] in "\n".join(refused.lines), refused.lines


def terminal(rows, columns):
    """A pseudo-terminal of a size: our end of it, and the program's."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    return ours, theirs


def read_terminal(ours, until, limit_s=60):
    """What is drawn, until something is or the program has ended."""
    drawn, deadline = b"", time.monotonic() + limit_s
    while until not in drawn:
        assert time.monotonic() < deadline, f"never drawn: {until!r}; the end of it: {drawn[-2000:]!r}"
        if select.select([ours], [], [], 1)[0]:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # nobody holds the other end any more
                return drawn
            if not piece:
                return drawn
            drawn += piece
    return drawn


def test_a_terminal_is_drawn_on_and_given_back(demo):
    ours, theirs = terminal(30, 100)
    told = demo(*SMALL, stdout=theirs, start_new_session=True)
    os.close(theirs)
    drawn = read_terminal(ours, "act 2 of 7".encode())
    assert drawn.startswith(b"\x1b[?1049h\x1b[?25l"), drawn[:100]
    text = read_terminal(ours, "✓ load".encode())
    drawn += text + read_terminal(ours, b"Ctrl-C")
    frames = drawn.decode(errors="replace").split("\x1b[H")
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", frames[-2])
    for word in ("holon demo", "serving", "ring", "requests/s", "p50/p99", f"console http://{told.base}:7070"):
        assert word in shown, shown
    lines = shown.split("\r\n")
    assert len(lines) == 30 and all(len(line.rstrip("\r\n")) <= 100 for line in lines), shown
    told.process.send_signal(signal.SIGINT)
    left = b""
    while piece := read_terminal(ours, b"promises kept"):
        left += piece
        if b"promises kept" in left:
            break
    assert told.process.wait(30) == 130
    # The screen and the cursor are back before the summary, so that it stays.
    after = left[left.index(b"\x1b[?25h\x1b[?1049l"):].decode()
    assert "of 8 promises kept" in after and "\x1b[?1049h" not in after, after
    os.close(ours)
    told.leaves_nothing()
