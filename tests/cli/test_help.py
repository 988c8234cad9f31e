"""Help, examples and completion: for people, and for shells."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import cuslayer as cs
from cuslayer.cli import COMMANDS, errors, main, make_parser
from cuslayer.training.config import named_configs

ROOT = Path(__file__).parents[2]
EXAMPLES = [(name, line) for name, command in COMMANDS.items() for line in command.EXAMPLES]


def helped(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--help"])
    assert stop.value.code == 0
    return capsys.readouterr().out


def test_the_help_of_each_command_has_examples(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    for name, command in COMMANDS.items():
        text = helped(capsys, name)
        *_, examples = re.split(r"^examples?:$", text, flags=re.MULTILINE)
        assert f"usage: cuslayer {name}" in text
        assert [line.strip() for line in examples.splitlines() if line] == list(command.EXAMPLES) != []


def test_each_example_parses():
    for name, line in EXAMPLES:
        words = shlex.split(line.replace("$(", " ").replace(")", " ").replace('"', ""))
        arguments = words[words.index("cuslayer") + 1 :]
        arguments = arguments[: arguments.index(">")] if ">" in arguments else arguments
        assert make_parser().parse_args(arguments).command == name


def test_the_help_of_all_has_commands_and_exit_codes(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = " ".join(helped(capsys).split())
    for name, command in COMMANDS.items():
        assert f"{name} {' '.join(command.HELP.split())}" in text
    for code, meaning in errors.EXIT_CODES.items():
        assert f"{code} {meaning}" in text


def test_the_configurations_that_the_help_names_are_all(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "500")
    found = re.search(r"the name of a configuration: ([\w, -]+)$", helped(capsys, "train"), re.MULTILINE)
    assert set(found[1].split(", ")) == set(named_configs())


def test_without_a_command_there_is_the_list_of_them(command, monkeypatch, capsys):
    code, out, err = command()
    assert (code, out) == (2, "")
    assert err == make_parser().format_help()
    monkeypatch.setattr("sys.argv", ["cuslayer"])
    assert (main(), capsys.readouterr().err) == (2, err)


@pytest.mark.parametrize(
    "arguments",
    [
        ["trian"],
        ["train", "--epochs", "x"],
        ["train", "--device", "tpu"],
        ["test"],
        ["convert", "a"],
        ["convert", "a", "b", "c"],
        ["completion", "tcsh"],
    ],
)
def test_usage(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage: cuslayer" in capsys.readouterr().err


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
        ("cuslayer train --ch", {"--checkpoint-minutes", "--checkpoint-steps"}),
        ("cuslayer train n", {"net.yaml", "nmnist", "ntidigits"}),
        ("cuslayer train --tr", set()),
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


def test_shells_look_for_a_mark_in_the_program():
    assert "PYTHON_ARGCOMPLETE_OK" in (ROOT / "cuslayer_main.py").read_text()[:1024]
