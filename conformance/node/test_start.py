"""Starting: the lines a node prints, and one clear line for each thing that can be wrong."""

import os
import pathlib
import shutil
import socket
import struct
import subprocess
import tempfile
import time

import holon_node
import pytest


def refused(node, *words):
    """Starts it, expects it to end by itself with an error that holds `words`, in few lines and without a panic."""
    node.start(wait=False)
    try:
        code = node.wait_end(15)
    except subprocess.TimeoutExpired:
        node.kill()
        raise AssertionError(f"it runs, but should have refused; it said:\n{node.said()}") from None
    text = node.said()
    assert code not in (0, None) and code > 0, f"it ended with {code}:\n{text}"
    assert "panicked" not in text and "backtrace" not in text, text
    errors = [line for line in text.splitlines() if any(word.lower() in line.lower() for word in words)]
    assert errors, f"no line with one of {words}:\n{text}"
    assert all(any(word.lower() in text.lower() for word in [each]) for each in words), f"{words} not all in:\n{text}"
    assert len(text.splitlines()) <= 6, f"one clear line, not {len(text.splitlines())}:\n{text}"
    return text


def test_prints_its_doors_and_when_it_is_ready(node):
    text = node.said()
    for port in (holon_node.CQL_PORT, holon_node.CONSOLE_PORT):
        assert f"{node.address}:{port}" in text, text
        with socket.create_connection((node.address, port), timeout=5):
            pass


def test_first_start_is_fast(make_node):
    times = []
    for _ in range(3):
        node = make_node()
        node.start(wait=False)
        times.append(node.wait_ready())
        node.kill()
    print(f"ready in {times} ms on an empty directory")
    assert min(times) < 3000  # the figure itself is kept in docs/PERFORMANCE.md, not asserted


def test_taken_port(node, make_node):
    text = refused(make_node(address=node.address), "9042", node.address)
    assert "--" in text, f"it does not say which flag moves the door: {text}"
    assert node.running()


def test_second_node_on_the_same_data(node, make_node):
    refused(make_node(data_dir=node.data_dir), str(node.data_dir))
    assert node.running()


def test_unknown_configuration_key(make_node, tmp_path):
    config = tmp_path / "holon.toml"
    config.write_text("bindd = '127.0.0.1'\n", encoding="utf-8")
    refused(make_node(arguments=["--config", str(config)]), "bindd")


def test_broken_configuration_file(make_node, tmp_path):
    config = tmp_path / "holon.toml"
    config.write_text("bind = \n", encoding="utf-8")
    refused(make_node(arguments=["--config", str(config)]), "holon.toml")


def test_missing_configuration_file(make_node):
    refused(make_node(arguments=["--config", "no/such/file.toml"]), "no/such/file.toml")



@pytest.mark.parametrize(("flag", "value"), [
    ("--memory", "lots"), ("--cql-address", "not-an-address"), ("--auth", "maybe")])
def test_wrong_value_of_a_flag(make_node, flag, value):
    text = refused(make_node(arguments=[flag, value]), value)
    assert flag.strip("-").split("-")[0] in text


def test_unwritable_data_directory(make_node, tmp_path):
    # Root may write anywhere, so the obstacle is a file where a folder must be.
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    refused(make_node(data_dir=tmp_path / "file" / "data"), str(tmp_path / "file"))


def test_data_directory_without_permission():
    """Root may write everywhere, so root starts it as nobody, with a copy of the program where nobody may read it."""
    place = pathlib.Path(tempfile.mkdtemp(prefix="nobody-"))
    try:
        place.chmod(0o755)
        folder = place / "data"
        folder.mkdir(mode=0o555)
        program = shutil.copy(holon_node.binary(), place / "holon")
        node = holon_node.Node(data_dir=folder, program=str(program), user=65534 if os.geteuid() == 0 else None)
        refused(node, str(folder), "ermission denied")
    finally:
        shutil.rmtree(place, ignore_errors=True)


def test_data_directory_that_is_not_ours(make_node, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("photo.jpg", "letter.txt"):
        (folder / name).write_text("somebody's", encoding="utf-8")
    refused(make_node(data_dir=folder), str(folder))
    assert sorted(path.name for path in folder.iterdir()) == ["letter.txt", "photo.jpg"], "it left something behind"


def crc32c(data):
    """The checksum of everything on disk; slow and small."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def test_data_of_a_newer_format(make_node):
    node = make_node().start()
    node.terminate()
    identity = pathlib.Path(node.data_dir) / "node"
    content = identity.read_bytes()
    magic, version, rest = content[:8], struct.unpack("<I", content[8:12])[0], content[12:-4]
    assert struct.unpack("<I", content[-4:])[0] == crc32c(content[:-4]), "the file is not what this test knows"
    newer = magic + struct.pack("<I", version + 1000) + rest
    identity.write_bytes(newer + struct.pack("<I", crc32c(newer)))
    refused(node, "newer format", str(version + 1000))
    assert identity.read_bytes()[:-4] == newer, "it was changed"


def test_damaged_identity(make_node):
    node = make_node().start()
    node.terminate()
    identity = pathlib.Path(node.data_dir) / "node"
    whole = identity.read_bytes()
    for damaged in (b"\x00\xffgarbage", b"", whole[:20], whole[:-1] + bytes([whole[-1] ^ 1]), whole[:14] + b"\0" + whole[15:]):
        identity.write_bytes(damaged)
        refused(node, "node", "damaged")
    identity.write_bytes(whole)
    node.start()


def test_files_of_another_node(make_node):
    """Files of one node laid under another one: refused, never read as its own."""
    one, other = make_node().start(), make_node().start()
    for node in (one, other):
        node.terminate()
    shutil.copy(pathlib.Path(one.data_dir) / "node", pathlib.Path(other.data_dir) / "node")
    refused(other, "the certificate is not for node")
    # With its certificates, too, it is the log that is not its own.
    shutil.copytree(pathlib.Path(one.data_dir) / "cluster", pathlib.Path(other.data_dir) / "cluster", dirs_exist_ok=True)
    refused(other, "another node")


@pytest.mark.parametrize("flag", ["--bind", "--cql-address", "--kafka-address", "--console-address"])
def test_address_beyond_loopback_is_refused(make_node, flag):
    value = "0.0.0.0" if flag == "--bind" else "0.0.0.0:0"
    node = make_node()
    if flag == "--bind":
        node.address = value
    else:
        node.arguments = [flag, value]
    refused(node, "--insecure", "0.0.0.0")


def test_address_beyond_loopback_with_insecure(make_node):
    node = make_node(arguments=["--insecure", "--console-address", "0.0.0.0:0"]).start()
    assert node.running()


def test_settings_from_file_environment_and_flag(make_node, tmp_path):
    file_address, environment_address, flag_address = (holon_node.free_address() for _ in range(3))
    config = tmp_path / "holon.toml"
    config.write_text(f"cql_address = '{file_address}:9042'\nbind = '{file_address}'\n", encoding="utf-8")
    program = holon_node.binary()
    shown = subprocess.run([program, "config", "--config", config, "--memory", "300MiB"], capture_output=True, text=True,
                           env={**os.environ, "HOLON_BIND": environment_address, "HOLON_AUTH": "none"}, timeout=10, check=False)
    assert shown.returncode == 0, shown.stderr
    text = shown.stdout
    assert f"{file_address}:9042" in text and environment_address in text
    for source in ("file", "HOLON_BIND", "--memory", "default"):
        assert source in text, f"the source `{source}` is not named:\n{text}"
    node = make_node(address=flag_address, arguments=["--config", str(config)])
    node.arguments += ["--cql-address", f"{flag_address}:9042"]
    node.start()
    with socket.create_connection((flag_address, holon_node.CQL_PORT), timeout=5):
        pass


def test_help_and_version_say_something():
    program = holon_node.binary()
    for words in (["--help"], ["start", "--help"], ["--version"], ["status", "--help"]):
        done = subprocess.run([program, *words], capture_output=True, text=True, timeout=10, check=False)
        assert done.returncode == 0 and "olon" in done.stdout
    assert "--data-dir" in subprocess.run([program, "start", "--help"], capture_output=True, text=True, check=False).stdout


def test_three_nodes_on_one_machine(make_node):
    nodes = [make_node().start() for _ in range(3)]
    time.sleep(0.2)
    assert all(node.running() for node in nodes)
