"""SIGINT and SIGTERM end a command with exit codes 130 and 143; a run is saved first, and a line says how to go on."""

from __future__ import annotations

import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest

from cuslayer.backend import deferred
from cuslayer.cli import main
from cuslayer.training import Trainer, train
from cuslayer.training.steps import PlainStep
from tests.support.deaths import results, tiny
from tests.support.tiny import no_figures, silent

pytestmark = pytest.mark.all

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


@pytest.fixture(autouse=True)
def _not_ignored():
    """Tests that run in the background may have been told to ignore SIGINT, which processes inherit."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Start a run and send signals to it in its second step; return the arguments and the expected results."""
    no_figures(monkeypatch)
    config = tiny(tmp_path, checkpoint_steps=None)
    expected = results(train(config.with_options(out=str(tmp_path / "whole")), log=silent))
    (tmp_path / "tiny.yaml").write_text(config.to_yaml())
    step, steps = PlainStep.take, []

    def send(*numbers):
        def stepped(self, *arguments):
            steps.append(1)
            if len(steps) == 2:
                for number in numbers:
                    os.kill(os.getpid(), number)
            return step(self, *arguments)

        monkeypatch.setattr(PlainStep, "take", stepped)

    return ["train", str(tmp_path / "tiny.yaml"), "--out", str(tmp_path / "a run")], expected, send


@pytest.mark.parametrize("number", CODES, ids=str)
def test_a_run_says_how_to_go_on(run, tmp_path, capsys, number):
    arguments, expected, send = run
    send(number)
    before = [signal.getsignal(each) for each in CODES]
    assert main([*arguments, "--device", "cpu"]) == CODES[number]
    assert [signal.getsignal(each) for each in CODES] == before
    (line,) = capsys.readouterr().err.splitlines()
    found = re.fullmatch(r"cuslayer: interrupted after epoch 0, batch 2 of epoch 1; to go on: (.*)", line)
    program, *command = shlex.split(found[1])
    assert program == "cuslayer"
    assert command == ["train", "--resume", "--out", str(tmp_path / "a run"), "--device", "cpu"]
    assert main(command) == 0
    assert results(tmp_path / "a run") == expected


def test_a_second_signal_does_not_wait(run, capsys):
    arguments, _, send = run
    send(signal.SIGINT, signal.SIGINT)
    assert main(arguments) == 130
    assert capsys.readouterr().err == "cuslayer: interrupted; --resume goes on from the last checkpoint\n"


def test_a_signal_before_the_first_step(run, tmp_path, monkeypatch, capsys):
    arguments, _, _ = run
    prepare = Trainer.prepare
    monkeypatch.setattr(Trainer, "prepare", lambda *given: os.kill(os.getpid(), signal.SIGTERM) or prepare(*given))
    monkeypatch.setattr(PlainStep, "take", lambda *given: pytest.fail("a step was taken"))
    assert main(arguments) == 143
    message = "cuslayer: interrupted before the first checkpoint; the same command begins anew\n"
    assert capsys.readouterr().err == message
    assert not (tmp_path / "a run").exists()


def test_a_signal_when_all_is_done(run, tmp_path, monkeypatch, capsys):
    from cuslayer.training import run as run_module

    arguments, expected, _ = run
    monkeypatch.setattr(run_module, "save_figures", lambda *given: os.kill(os.getpid(), signal.SIGINT))
    assert main(arguments) == 130
    out = tmp_path / "a run"
    assert capsys.readouterr().err == f"cuslayer: interrupted; the run in {out} is complete\n"
    assert results(out)["metrics.csv"] == expected["metrics.csv"]


def test_signals_that_are_ignored_stay_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with deferred() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
            assert (stop(), stop.exit_code) == (True, 143)
    finally:
        signal.signal(signal.SIGINT, before)


def program(*arguments, **options):
    """Start the program in a process; return when its first line runs."""
    code = "import sys; from cuslayer_main import main; print(flush=True); sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )
    process.stdout.readline()
    return process


@pytest.mark.parametrize("number", CODES, ids=str)
def test_early_signals(tmp_path, number):
    """While modules are imported, kernels compiled and data read; benchmarks/soak.py tries more moments."""
    draw = random.Random(f"{number}")
    for _ in range(2):
        process = program("train", "--out", str(tmp_path / "out"), cwd=tmp_path)
        time.sleep(0.01 + draw.random())
        process.send_signal(number)
        out, err = process.communicate()
        assert process.returncode == CODES[number], (out, err)
        assert err.startswith("cuslayer: interrupted")
        assert err.count("\n") == 1
