"""Processes of MPI: the bits of one process, a death that ends all, and a run that goes on after it."""

from __future__ import annotations

import json

import pytest

from cuslayer.training import load_config, train
from tests.support import mpiexec
from tests.support.deaths import results, tiny
from tests.support.divided import networks, trained
from tests.support.processes import together
from tests.support.tiny import no_figures, silent

pytestmark = pytest.mark.skipif(mpiexec.missing() is not None, reason=str(mpiexec.missing()))


@pytest.mark.parametrize("size", [2, 4])
def test_the_bits_of_one_process(tmp_path, size):
    """21 steps of three networks; 4 processes may share cores."""
    code, text = mpiexec.run(size, "-m", "tests.support.divided", out=tmp_path / "log")
    assert code == 0, text
    found = json.loads(text)
    assert found.keys() == networks().keys()
    for name, make in networks().items():
        alone = json.loads(json.dumps(trained(make)))
        assert found[name] == [alone] * size, name


def test_a_process_is_killed(tmp_path, monkeypatch):
    """All end within ten seconds; other numbers of processes go on, and end with the bits of a run without deaths."""
    no_figures(monkeypatch)
    config = tiny(tmp_path, epochs=12, micro=1)
    (tmp_path / "run.yaml").write_text(config.to_yaml())
    out, log = tmp_path / "out", tmp_path / "log"
    options = str(tmp_path / "run.yaml"), "--out", str(out)
    seconds, text = mpiexec.kill_one(2, 1, *options, out=log, when=(out / "metrics.csv").exists)
    assert seconds < mpiexec.END
    assert "Killed" in text or "has ended" in text
    assert not (out / "raster.png").exists()
    together(3, lambda context: train(load_config(out / "config.yaml"), resume=True, log=silent, context=context))
    whole = train(config.with_options(out=str(tmp_path / "whole")), log=silent)
    assert results(out) == results(whole)


def test_errors(tmp_path):
    """What all processes find is one line; what one finds names it."""
    yaml = tmp_path / "run.yaml"
    yaml.write_text(tiny(tmp_path).to_yaml())
    code, text = mpiexec.train(2, str(yaml), "--out", str(yaml), out=tmp_path / "log")
    assert code == 2
    assert text.count("cuslayer: ") == 1
    assert f"cuslayer: train: out {yaml} is a file, not a folder" in text
    program = "import cuslayer_main, sys, os; r = os.environ.get('PMI_RANK', '0')"
    program += "; sys.argv = ['cuslayer', 'train', f'no{r}.yaml' if r == '1' else sys.argv[1], '--out', sys.argv[2]]"
    program += "; sys.exit(cuslayer_main.main())"
    code, text = mpiexec.run(2, "-c", program, str(yaml), str(tmp_path / "out"), out=tmp_path / "log")
    assert code == 2
    assert "cuslayer: process 1 of 2: load_config: no1.yaml is no file" in text
    assert not (tmp_path / "out" / "checkpoint.npz").exists()
