"""Drivers of other languages: each is a program that runs its cases once; each of its lines becomes a test.

The Rust driver always runs. Those for Go and Node.js run when `cargo xtask test --all` has built them.
"""

import os
import pathlib
import re
import subprocess

import pytest

HERE = pathlib.Path(__file__).resolve().parent
LIMIT_S = 300
#: The driver, what names its program, and where its cases are listed and how.
DRIVERS = {
    "rust": ("HOLON_RUST_DRIVER", "rust_driver/src/main.rs", r"^        ([a-z]\w+),$"),
    "go": ("HOLON_GO_DRIVER", "go_driver/main.go", r'\{"(\w+)", \w+\}'),
    "node": ("HOLON_NODE_DRIVER", "node_driver/main.js", r"^  async (\w+)\("),
}


def cases():
    for driver, (variable, source, pattern) in DRIVERS.items():
        if driver != "rust" and variable not in os.environ:
            continue
        for case in ["connect", *re.findall(pattern, (HERE / source).read_text(encoding="utf-8"), re.MULTILINE)]:
            yield pytest.param(driver, case, id=f"{driver}-{case}")


@pytest.fixture(scope="module")
def results(target):
    """What each driver's program printed, run once."""
    known = {}

    def of(driver):
        if driver in known:
            return known[driver]
        words = os.environ.get(DRIVERS[driver][0], "").split()
        if not words or not os.path.exists(words[-1]):
            pytest.fail(f"{DRIVERS[driver][0]}: there is no program at {words}; `cargo xtask test build` makes it")
        done = subprocess.run([*words, f"{target[0]}:{target[1]}"], capture_output=True, text=True, timeout=LIMIT_S, check=False)
        found = known[driver] = {"closing line": (done.stdout.strip() or done.stderr.strip() or "nothing").splitlines()[-1]}
        for line in done.stdout.splitlines():
            if match := re.match(r"(ok|FAILED) (\w+)(?:: (.*))?$", line):
                found[match[2]] = match[3] if match[1] == "FAILED" else None
        return found

    return of


@pytest.mark.parametrize(("driver", "case"), cases())
def test_driver(results, driver, case):
    found = results(driver)
    assert case in found, f"it did not get there: {found['closing line']}"
    assert found[case] is None, found[case]
