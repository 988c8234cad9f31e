"""Processes of MPI: the bits of one process, a death that ends all, and a run that goes on after it."""

import json
import re
import signal
import sys

import pytest

from cuslayer._base.files import alive
from cuslayer._base.version import __version__
from cuslayer.training import load_config, train
from tests.support import mpiexec
from tests.support.deaths import results, tiny
from tests.support.divided import emulated, networks, trained
from tests.support.processes import together
from tests.support.tiny import no_figures, silent

pytestmark = pytest.mark.skipif(mpiexec.missing() is not None, reason=str(mpiexec.missing()))


@pytest.mark.parametrize(("way", "sizes", "names"), [("cpu", (2, 4), ()), ("cuda", (2,), ("CNN",))])
def test_the_bits_of_one_process(tmp_path, way, sizes, names):
    """20 steps or more of each network; 4 processes may share cores.

    On emulated CUDA what MPI sends is an array of the host, whatever the network: test_trainer.py has all of them.
    """
    compute = {"cpu": trained, "cuda": emulated}[way]
    alone = json.loads(json.dumps({name: compute(make) for name, make in networks(*names).items()}))
    for size in sizes:
        code, text = mpiexec.run(size, "-m", "tests.support.divided", way, *names, out=tmp_path / "log")
        assert code == 0, text
        assert json.loads(text) == {name: [bits] * size for name, bits in alone.items()}


@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
def test_a_process_is_killed(tmp_path, monkeypatch):
    """All end; other numbers of processes go on, and end with the bits of a run without deaths."""
    no_figures(monkeypatch)
    config = tiny(tmp_path, epochs=12, micro=1)
    (tmp_path / "run.yaml").write_text(config.to_yaml())
    out, log = tmp_path / "out", tmp_path / "log"
    options = str(tmp_path / "run.yaml"), "--out", str(out)
    seconds, text = mpiexec.kill_one(2, 1, *options, out=log, when=(out / "metrics.csv").exists)
    assert seconds < mpiexec.END
    # mpiexec names the dead process, or another that it has killed after it; the run has said their ranks before.
    numbers = dict(re.findall(r"(\d+) \((\d+)\)", text.partition("processes, with")[2].partition("\n")[0]))
    named = [f"PID {number} RUNNING" for number in numbers.values()]
    assert any(name in text for name in [*named, f"process 1 ({numbers['1']}) has ended"]), text
    assert "signal 9" in text or "has ended" in text
    assert not (out / "raster.png").exists()
    together(3, lambda context: train(load_config(out / "config.yaml"), resume=True, log=silent, context=context))
    whole = train(config.with_options(out=str(tmp_path / "whole")), log=silent)
    assert results(out) == results(whole)


# The limit of waiting is long, and its clock fast from when a file is there. Nothing before that is taken for a hang,
# and nothing after it unless a process says nothing for four seconds.
_QUICK = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
import cuslayer_main
from cuslayer.distributed import mpi
stopped, since = Path(sys.argv.pop(1)), []
def monotonic():
    now = time.monotonic()
    if not since and stopped.exists():
        since.append(now)
    return now + 250 * (now - since[0]) if since else now
mpi.time = SimpleNamespace(monotonic=monotonic, sleep=time.sleep)
sys.argv[1:1] = ["train"]
sys.exit(cuslayer_main.main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_hangs(tmp_path, rank):
    """It is stopped, and runs no further; the others end all after the time that was given, with its rank."""
    stopped = tmp_path / "stopped"
    (tmp_path / "run.yaml").write_text(tiny(tmp_path, epochs=1000, micro=1).to_yaml())
    out, log = tmp_path / "out", tmp_path / "log"
    options = str(tmp_path / "run.yaml"), "--out", str(out), "--timeout", "1000"
    seconds, text = mpiexec.kill_one(
        *(3, rank, *options),
        out=log,
        when=(out / "metrics.csv").exists,
        by=signal.SIGSTOP,
        then=stopped.touch,
        program=("-c", _QUICK, str(stopped)),
    )
    assert seconds < mpiexec.END
    numbers = dict(re.findall(r"(\d+) \((\d+)\)", text.partition("processes, with")[2].partition("\n")[0]))
    found = re.search(
        r"cuslayer: process (\d) of 3: process (\d) \((\d+) on .*\) has not answered for 1000 s: stopped", text
    )
    assert found
    assert found[1] != str(rank)
    assert found.groups()[1:] == (str(rank), numbers[str(rank)])
    assert not any(alive(int(number)) for number in numbers.values())


# Process 1 has another version.
_DIFFERENT = """
import os, sys
import cuslayer_main
from cuslayer.training import run as agreement
if os.environ.get("PMI_RANK") == "1":
    agreement.__version__ = "0.0.9"
sys.argv[:1] = ["cuslayer", "train"]
sys.exit(cuslayer_main.main())
"""


def test_processes_that_differ(tmp_path):
    """They are refused before anything is written, in one line."""
    (tmp_path / "run.yaml").write_text(tiny(tmp_path).to_yaml())
    given = str(tmp_path / "run.yaml"), "--out", str(tmp_path / "out")
    code, text = mpiexec.run(2, "-c", _DIFFERENT, *given, out=tmp_path / "log")
    assert code == 2
    rule = f"cuslayer: train: all processes must have the same version of cuslayer: process 0 has '{__version__}', "
    assert [line.startswith(rule) for line in text.splitlines() if "cuslayer" in line] == [True], text
    assert "Traceback" not in text
    assert not (tmp_path / "out").exists()


def test_errors(tmp_path):
    """What all processes find is one line; what one finds names it."""
    yaml = tmp_path / "run.yaml"
    yaml.write_text(tiny(tmp_path).to_yaml())
    code, text = mpiexec.train(2, str(yaml), "--out", str(yaml), out=tmp_path / "log")
    assert code == 2
    assert text.count("cuslayer: ") == 1
    assert f"cuslayer: train: out {yaml} is a file, not a folder" in text
    code, text = mpiexec.train(2, str(yaml), "--data", str(tmp_path / "none"), out=tmp_path / "log")
    assert code == 2
    assert re.fullmatch(rf"cuslayer: .*{tmp_path / 'none'}.*\n", text)
    program = "import cuslayer_main, sys, os; r = os.environ.get('PMI_RANK', '0')"
    program += "; sys.argv = ['cuslayer', 'train', f'no{r}.yaml' if r == '1' else sys.argv[1], '--out', sys.argv[2]]"
    program += "; sys.exit(cuslayer_main.main())"
    code, text = mpiexec.run(2, "-c", program, str(yaml), str(tmp_path / "out"), out=tmp_path / "log")
    assert code == 2
    assert "cuslayer: train: process 1 of 2: load_config: no1.yaml is no file" in text
    assert not (tmp_path / "out" / "checkpoint.npz").exists()
