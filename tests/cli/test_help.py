"""Help, examples and completion: for people, and for shells, which are run where they are installed."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cuslayer.cli import COMMANDS, errors, main, make_parser
from cuslayer.cli.shells import SHELLS, commands_of
from cuslayer.training.named import names

ROOT = Path(__file__).parents[2]
EXAMPLES = [(name, line) for name, command in COMMANDS.items() for line in command.EXAMPLES]


def helped(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--help"])
    assert stop.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_each_command_has_examples(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    *_, examples = re.split(r"^examples?:$", helped(capsys, name), flags=re.MULTILINE)
    assert [line.strip() for line in examples.splitlines() if line] == list(COMMANDS[name].EXAMPLES)
    assert len(COMMANDS[name].EXAMPLES) >= 1


@pytest.mark.parametrize(("name", "line"), EXAMPLES, ids=[line for _, line in EXAMPLES])
def test_each_example_parses(name, line):
    words = shlex.split(line.replace("$(", " ").replace(")", " ").replace('"', ""))
    arguments = words[words.index("cuslayer") + 1 :]
    arguments = arguments[: arguments.index(">")] if ">" in arguments else arguments
    assert make_parser().parse_args(arguments).command == name


def test_the_help_of_all_has_commands_and_exit_codes(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    out = helped(capsys)
    assert max(map(len, out.splitlines())) <= 80
    text = " ".join(out.split())
    for name, command in COMMANDS.items():
        assert f"{name} {' '.join(command.HELP.split())}" in text
    for code, meaning in errors.EXIT_CODES.items():
        assert f"{code} {meaning}" in text


def test_the_configurations_that_the_help_names_are_all(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "500")
    found = re.search(r"the name of a configuration: ([\w, -]+)$", helped(capsys, "train"), re.MULTILINE)
    assert set(found[1].split(", ")) == set(names())


def test_without_a_command_there_is_the_list_of_them(command, monkeypatch, capsys):
    code, out, err = command()
    assert (code, out) == (2, "")
    assert err == make_parser().format_help()
    assert all(each.HELP in " ".join(err.split()) for each in COMMANDS.values())
    monkeypatch.setattr("sys.argv", ["cuslayer"])
    assert (main(), capsys.readouterr().err) == (2, err)


def script(shell):
    """Return the completion script of a shell, as the command prints it."""
    return SHELLS[shell](commands_of(make_parser()))


@pytest.mark.parametrize("shell", SHELLS)
def test_the_command_prints_a_script_with_all_commands_and_options(shell, command):
    code, out, err = command("completion", shell)
    assert (code, err) == (0, "")
    assert out == script(shell)
    for name in COMMANDS:
        assert re.search(rf"\b{name}\b", out), name
    for each in commands_of(make_parser()):
        for option in each.options:
            for flag in option.flags:
                written = f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}"
                assert (written if shell == "fish" else flag) in out


def test_another_shell_is_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["completion", "tcsh"])
    assert stop.value.code == 2
    assert "invalid choice: 'tcsh'" in capsys.readouterr().err


@pytest.fixture
def folder(tmp_path):
    """A folder with a file and folders to complete, the name of one with a space."""
    (tmp_path / "data").mkdir()
    (tmp_path / "my runs").mkdir()
    (tmp_path / "net.yaml").touch()
    return tmp_path


CASES = [
    ("cuslayer ", {*COMMANDS}),
    ("cuslayer t", {"train", "test"}),
    ("cuslayer --v", {"--version"}),
    ("cuslayer train --device ", {"auto", "cpu", "cuda"}),
    ("cuslayer train --device=c", {"cpu", "cuda"}),
    ("cuslayer test --device c", {"cpu", "cuda"}),
    ("cuslayer train --ch", {"--checkpoint-minutes", "--checkpoint-steps"}),
    ("cuslayer train --data ", {"data", "my runs"}),
    ("cuslayer train s", {"shd", "spoken-digits", "ssc"}),
    ("cuslayer train n", {"net.yaml", "nmnist", "ntidigits"}),
    ("cuslayer train --epochs ", set()),
    ("cuslayer predict my", {"my runs"}),
    ("cuslayer completion ", {"bash", "zsh", "fish"}),
    ("cuslayer convert --unit n", {"ns"}),
    ("cuslayer info ", set()),
    ("cuslayer info --", {"--help", "--json"}),
]


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(("line", "expected"), CASES, ids=[line for line, _ in CASES])
def test_bash_completes(folder, line, expected):
    (folder / "script").write_text(script("bash"))
    # bash takes "=" as a word of its own.
    words = re.findall(r"=|[^\s=]+", line) + ([""] if line[-1] in " =" else [])
    program = (
        'source "$1"; complete -p cuslayer >/dev/null; rm "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1));'
        'compopt() { :; }; _cuslayer; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    found = subprocess.run(
        ["bash", "--norc", "-uc", program, "bash", "./script", *words], cwd=folder, capture_output=True, text=True
    )
    assert (found.returncode, found.stderr) == (0, "")
    assert set(found.stdout.splitlines()) - {""} == expected


@pytest.mark.skipif(shutil.which("fish") is None, reason="there is no fish")
@pytest.mark.parametrize(("line", "expected"), CASES, ids=[line for line, _ in CASES])
def test_fish_completes(folder, line, expected):
    (folder / "script").write_text(script("fish"))
    program = f"source script; rm script; complete -C '{line}'"
    environment = {**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder / ".config")}
    found = subprocess.run(
        ["fish", "--no-config", "-c", program], cwd=folder, capture_output=True, text=True, env=environment
    )
    assert (found.returncode, found.stderr) == (0, "")
    lines = {each.split("\t")[0].removeprefix("--device=").rstrip("/") for each in found.stdout.splitlines()}
    # fish also offers words that contain the last one, not at their start.
    last = line.split(" ")[-1].removeprefix("--device=")
    assert {each for each in lines if each.startswith(last)} - {"-h"} == expected


@pytest.mark.skipif(shutil.which("zsh") is None, reason="there is no zsh")
def test_zsh_reads_the_script(tmp_path):
    """Its functions are defined; what the Tab key shows needs a terminal."""
    (tmp_path / "script").write_text(script("zsh"))
    program = "autoload -U compinit; compinit -u -d dump; source ./script; whence -w _cuslayer; print $_comps[cuslayer]"
    found = subprocess.run(["zsh", "-fc", program], cwd=tmp_path, capture_output=True, text=True)
    assert (found.returncode, found.stderr, found.stdout) == (0, "", "_cuslayer: function\n_cuslayer\n")


def test_a_script_is_made_in_a_moment():
    """Without Numba, matplotlib and a GPU."""
    code = (
        "import sys; from cuslayer.cli import main; main(['completion', 'bash']);"
        "print(*sys.modules.keys() & {'numba', 'cupy', 'matplotlib'}, file=sys.stderr)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert found.stderr == "\n"
