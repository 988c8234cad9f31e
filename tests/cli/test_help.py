"""Help, examples and completion: for people, and for shells."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import cuslayer as cs
from cuslayer.cli import COMMANDS, main, make_parser

ROOT = Path(__file__).parents[2]
EXAMPLES = [(name, line) for name, command in COMMANDS.items() for line in command.EXAMPLES]


def test_each_command_has_help_and_examples_that_parse(capsys):
    for name in COMMANDS:
        with pytest.raises(SystemExit) as stop:
            main([name, "--help"])
        assert (stop.value.code, f"usage: cuslayer {name}" in capsys.readouterr().out) == (0, True)
    for name, line in EXAMPLES:
        words = shlex.split(line.replace("$(", " ").replace(")", " ").replace('"', ""))
        arguments = words[words.index("cuslayer") + 1 :]
        arguments = arguments[: arguments.index(">")] if ">" in arguments else arguments
        assert make_parser().parse_args(arguments).command == name


def test_without_a_command_there_is_the_list_of_them(command, monkeypatch, capsys):
    code, out, err = command()
    assert (code, out) == (2, "")
    assert err == make_parser().format_help()
    monkeypatch.setattr("sys.argv", ["cuslayer"])
    assert (main(), capsys.readouterr().err) == (2, err)


@pytest.mark.parametrize(
    "arguments", [["trian"], ["train", "--epochs", "x"], ["test"], ["convert", "a", "b", "c"], ["completion", "tcsh"]]
)
def test_usage(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert (err[:10], err[-8:], err.count("\n")) == ("cuslayer: ", " --help\n", 1)


def test_the_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"cuslayer {cs.__version__}\n"


def test_the_script_of_each_shell(command, monkeypatch, refused):
    pytest.importorskip("argcomplete")
    for shell in ("bash", "zsh", "fish"):
        code, out, err = command("completion", shell)
        assert (code, err) == (0, "")
        assert "cuslayer" in out
        assert "_ARGCOMPLETE" in out
    assert len({command("completion", shell)[1] for shell in ("bash", "fish")}) == 2
    monkeypatch.setitem(sys.modules, "argcomplete", None)
    refused("completion: argcomplete is not installed; pip install 'cuslayer[completion]'", "completion", "bash")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("cuslayer t", {"train", "test"}),
        ("cuslayer train --device c", {"cpu", "cuda"}),
        pytest.param("cuslayer train --ch", {"--checkpoint-minutes", "--checkpoint-steps"}, marks=pytest.mark.all),
        pytest.param("cuslayer train n", {"net.yaml", "nmnist", "ntidigits"}, marks=pytest.mark.all),
        pytest.param("cuslayer train --tri", set(), marks=pytest.mark.all),
    ],
)
def test_the_tab_key_is_answered(tmp_path, line, expected):
    pytest.importorskip("argcomplete")
    (tmp_path / "net.yaml").touch()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "_ARGCOMPLETE": "1", "COMP_LINE": line}
    environment |= {"COMP_POINT": str(len(line)), "_ARGCOMPLETE_STDOUT_FILENAME": str(tmp_path / "words")}
    environment |= {"_ARGCOMPLETE_IFS": "\n"}
    program = [sys.executable, "-c", "from cuslayer_main import main; main()"]
    found = subprocess.run(program, env=environment, cwd=tmp_path, capture_output=True)
    assert (found.returncode, found.stdout) == (0, b"")
    assert {word.strip() for word in (tmp_path / "words").read_text().splitlines()} - {""} == expected
