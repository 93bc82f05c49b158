"""kafkajs with its defaults: `kafkajs/main.js` runs once, each of its lines becomes a test."""

import pathlib
import re
import subprocess

import pytest

from installed import installed

HERE = pathlib.Path(__file__).resolve().parent
FOLDER = HERE / "kafkajs"
LIMIT_S = 120
CASES = re.findall(r"^  async (\w+)\(", (FOLDER / "main.js").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture(scope="module")
def results(bootstrap):
    """What the program printed, by case; None: it passed."""
    folder = installed("kafkajs", ("node", "npm"), (FOLDER / "package.json", FOLDER / "main.js"),
                       ("npm", "install", "--no-audit", "--no-fund", "--no-package-lock"))
    done = subprocess.run(["node", str(folder / "main.js"), bootstrap], capture_output=True, text=True, timeout=LIMIT_S,
                          check=False)
    found = {"closing line": (done.stdout.strip() or done.stderr.strip() or "nothing").splitlines()[-1]}
    for line in done.stdout.splitlines():
        if match := re.match(r"(ok|FAILED) (\w+)(?:: (.*))?$", line):
            found[match[2]] = match[3] if match[1] == "FAILED" else None
    return found


@pytest.mark.parametrize("case", CASES)
def test_kafkajs(results, case):
    assert case in results, f"it did not get there: {results['closing line']}"
    assert results[case] is None, results[case]
