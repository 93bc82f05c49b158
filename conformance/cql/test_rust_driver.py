"""The Rust driver: runs `rust_driver` once and turns each of its lines into a test."""

import os
import pathlib
import re
import subprocess

import pytest

HERE = pathlib.Path(__file__).resolve().parent
LIMIT_S = 300
CASES = ["connect", *re.findall(r"^        (\w+),$", (HERE / "rust_driver/src/main.rs").read_text(encoding="utf-8"), re.M)]


@pytest.fixture(scope="module")
def results(target):
    program = os.environ.get("HOLON_RUST_DRIVER")
    if not program or not os.path.exists(program):
        pytest.fail(f"HOLON_RUST_DRIVER: there is no program at {program}; `cargo xtask test build` makes it")
    done = subprocess.run([program, f"{target[0]}:{target[1]}"], capture_output=True, text=True, timeout=LIMIT_S, check=False)
    found = {}
    for line in done.stdout.splitlines():
        match = re.match(r"(ok|FAILED) (\w+)(?:: (.*))?$", line)
        if match:
            found[match[2]] = match[3] if match[1] == "FAILED" else None
    found["closing line"] = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr
    return found


@pytest.mark.parametrize("case", CASES)
def test_rust(results, case):
    assert case in results, f"it did not get there: {results['closing line']}"
    assert results[case] is None, results[case]
