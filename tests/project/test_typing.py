"""A user's script passes `mypy --strict`, against the wheel in an environment of its own, and runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).parent / "files" / "user_script.py"


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The interpreter of an environment with the wheel, and with the libraries of this one."""
    folder = tmp_path_factory.mktemp("environment")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(folder), str(ROOT)], check=True, capture_output=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    found = folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    show = [str(found), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = Path(subprocess.run(show, check=True, capture_output=True, text=True).stdout.strip())
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    others = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    (site / "others.pth").write_text("".join(f"{path}\n" for path in sorted(others)))
    return found


def strict(python, script, folder):
    # Without a configuration file, as in a user's folder.
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--python-executable",
        str(python),
        "--config-file=",
    ]
    environment = {name: value for name, value in os.environ.items() if name not in ("MYPYPATH", "PYTHONPATH")}
    return subprocess.run(
        [*command, "--cache-dir", str(folder / "cache"), str(script)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.all
def test_the_script_passes(python, tmp_path):
    # Beside the tests, mypy would find the sources of the repository.
    script = shutil.copy(SCRIPT, tmp_path)
    found = strict(python, script, tmp_path)
    assert (found.stdout, found.stderr) == ("Success: no issues found in 1 source file\n", "")
    # Types are those of the package, not Any: mistakes are found.
    wrong = SCRIPT.read_text(encoding="utf-8").replace("theta=10.0, tau_sr=5.0)\n", 'theta="10", tau_sr=5.0)\n', 1)
    wrong = wrong.replace("score.loss:.3f", "score.los:.3f").replace("cs.calibrate(net, batches)", "cs.calibrat(net)")
    (tmp_path / "wrong.py").write_text(wrong, encoding="utf-8")
    said = strict(python, tmp_path / "wrong.py", tmp_path).stdout
    assert 'Argument "theta" to "SRM" has incompatible type "str"; expected "float"' in said
    assert 'has no attribute "los"' in said
    assert 'Module has no attribute "calibrat"' in said


def test_the_script_runs(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(SCRIPT), str(tmp_path)]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert (found.returncode, found.stderr) == (0, "")
    *epochs, margin, last = found.stdout.splitlines()
    assert [line.split(":")[0] for line in epochs] == ["epoch 1", "epoch 2", "epoch 3"]
    assert margin.startswith("margin ")
    assert int(last.removeprefix("accuracy ").removesuffix("%")) > 75
    assert (tmp_path / "why.png").stat().st_size > 1000
