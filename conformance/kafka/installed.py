"""Clients of other languages: installed once into the scratch folder, by the versions that their manifests here pin."""

import os
import pathlib
import shutil
import subprocess

import pytest

HERE = pathlib.Path(__file__).resolve().parent
LIMIT_S = 600


def base():
    """Where they are kept between runs."""
    root = HERE.parent.parent
    return pathlib.Path(os.environ.get("HOLON_SCRATCH") or root / os.environ.get("CARGO_TARGET_DIR", "target") / "foreign")


def installed(name, programs, files, command):
    """A folder with these files, in which the command was run once; skips where a program is missing that it needs."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed; `cargo xtask test --all` installs what is missing")
    folder = base().resolve() / f"client-{name}"
    stamp, wanted = folder / "installed.txt", "".join(file.read_text(encoding="utf-8") for file in files)
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for file in files:
        shutil.copy(file, folder)
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_S,
                          check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    stamp.write_text(wanted, encoding="utf-8")
    return folder
