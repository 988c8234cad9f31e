"""The soak test runs with a fault of each kind, and sees what differs from an undisturbed run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the soak test is for Linux")


def python(*arguments):
    """Run Python with the package of this checkout. The script replaces functions of `time` and `os`."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, BENCHMARKS))), "CUSLAYER_DEVICE": "cpu"}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=3600, check=False
    )


def soak(folder, *arguments):
    """Run the script; return its exit code, its results and its output."""
    out = folder / "soak.json"
    found = python(str(BENCHMARKS / "soak.py"), *arguments, "--only", "--no-figures", "--out", str(out))
    assert out.exists(), found.stderr
    return found.returncode, json.loads(out.read_text()), found.stdout


def test_a_fault_of_each_kind(tmp_path):
    names = ("kills", "deaths", "full disks", "clocks", "contenders", "signals")
    code, found, text = soak(tmp_path, *(f"--{name.replace(' ', '-')}=1" for name in names))
    assert {name: each["times"] for name, each in found["faults"].items()} == dict.fromkeys(names, 1)
    assert not any(each["differences"] or each["hangs"] for each in found["faults"].values())
    assert len([line for line in text.splitlines() if line.startswith("| ")]) == 2 + len(names)
    assert code == int(any(each["failures"] for each in found["faults"].values()))


@pytest.mark.slow
def test_interrupts_and_memory(tmp_path):
    code, found, text = soak(tmp_path, "--interrupts=1", "--memory", "--memory-steps=8")
    assert found["faults"]["interrupts"]["times"] == 1
    assert {name: each["steps"] for name, each in found["memory"].items()} == {"MLP": 8, "CNN": 8}
    assert "resident memory of" in text
    assert code in (0, 1)


SEEN = """
import os, shutil, signal, sys, time
from pathlib import Path
from faults import clock
clock.install()
from matplotlib.figure import Figure
Figure.savefig = lambda self, file, **_: file.write(b"figure")
from faults.disk import Disk
from faults.runs import Runs, redone_steps
from cuslayer.training import load_checkpoint
runs = Runs(Path(sys.argv[1]).resolve())
begun, date = time.monotonic(), time.time()
clock.advance(100)
clock.set_wall(-5000)
assert 100 <= time.monotonic() - begun < 200 and time.time() < date - 4000

def copy():
    out = runs.new_folder()
    shutil.copytree(runs.root / "undisturbed", out)
    config = out / "config.yaml"
    config.write_text(config.read_text().replace("undisturbed", out.name))
    return out

out = copy()
print(runs.differences(out), runs.left_over(out))
text = (out / "metrics.csv").read_text()
(out / "metrics.csv").write_text(text.replace(text.splitlines()[1].rsplit(",")[-1], "1e9"))
(out / ".x").touch()
print(runs.differences(out), runs.left_over(out))
(out / "metrics.csv").write_text(text.replace("\\n1,", "\\n1,1"))
(out / "gradients.png").unlink()
print(runs.differences(out), runs.left_over(out))
out = copy()
found = load_checkpoint(out / "checkpoint.npz")
name = sorted(found.network)[0]
found.network[name].view("u1").flat[0] ^= 1
found.save(out / "checkpoint.npz")
print(runs.differences(out))
print(redone_steps([1, 2, 3, 2, 3, 4, 5, 1]), redone_steps([1, 2, 3]))

def changes(kind, at):
    disk = Disk(runs.root, kind, at)
    def work():
        disk.install()
        path = runs.root / "small"
        try:
            path.with_name("other").write_bytes(b"12345678")
            with open(path, "w") as file:
                file.write("12345678")
            os.replace(path, path.with_name("last"))
        except OSError as problem:
            os._exit(problem.errno)
        os._exit(disk.moments)
    for name in ("other", "small", "last"):
        (runs.root / name).unlink(missing_ok=True)
    pid = os.fork()
    if not pid:
        work()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    sizes = [(runs.root / n).stat().st_size if (runs.root / n).exists() else -1 for n in ("other", "small", "last")]
    print(kind, at, code, sizes)

for at in (None, 1, 2, 4, 5, 11, 12):
    changes("death", at)
for at in (None, 1, 3, 7):
    changes("full", at)
"""


def test_what_differs_is_seen_and_faults_come_at_the_chosen_change(tmp_path):
    found = python("-c", SEEN, str(tmp_path / "runs"))
    assert found.returncode == 0, found.stderr
    lines = found.stdout.split("results go to")[-1].splitlines()[-16:]
    assert lines[0] == "[] []"
    assert lines[1] == "[] ['.x']"
    assert lines[2] == "['gradients.png', 'metrics.csv'] ['.x']"
    assert lines[3].startswith("['checkpoint.npz network ")
    assert lines[3].count("'") == 2
    assert lines[4] == "5 0"
    # Opened, opened; before the write, in it, after it; the same for the second file; the rename.
    assert lines[5:12] == [
        "death None 12 [8, -1, 8]",
        "death 1 -9 [-1, -1, -1]",
        "death 2 -9 [0, -1, -1]",
        "death 4 -9 [4, -1, -1]",
        "death 5 -9 [8, -1, -1]",
        "death 11 -9 [8, 8, -1]",
        "death 12 -9 [8, -1, 8]",
    ]
    assert lines[12:16] == [
        "full None 7 [8, -1, 8]",
        "full 1 28 [-1, -1, -1]",
        "full 3 28 [4, -1, -1]",
        "full 7 28 [8, 8, -1]",
    ]
