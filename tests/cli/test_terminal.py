"""What a terminal obeys or does not show, such as in the name of a file, reaches none; nor does a password."""

from __future__ import annotations

import itertools

import pytest

from cuslayer.cli import errors, main, make_parser
from cuslayer.training.sweep import without_password

# C0, C1, DEL, an override of the direction of text, a line separator, and what no terminal shows.
EVIL = "a\x1b[2J\x07\x08\x7f\x9b\u202e\u2066\u2028\u200b\r\nb"
COMMANDS = (
    ["train", EVIL],
    ["train", "--out", f"nowhere/{EVIL}\0"],
    ["train", "--data", EVIL],
    ["train", "--network", EVIL],
    ["train", "--resume", "--out", EVIL],
    ["train", "--optimizer", EVIL],
    ["sweep", EVIL],
    ["test", EVIL],
    ["predict", EVIL, EVIL],
    ["report", EVIL],
    ["demo", EVIL],
    ["convert", f"{EVIL}.bs2", f"{EVIL}.bs1"],
    ["convert", EVIL, EVIL],
    ["info", EVIL],
    [EVIL],
)


def exit_code(arguments):
    """Return the exit code of a command, which argparse may raise."""
    try:
        return main(arguments)
    except SystemExit as end:
        return end.code


def plain(text):
    return all(line.isprintable() for line in text.removesuffix("\n").split("\n"))


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda each: each[0] if len(each) > 1 else "no command")
def test_names_in_errors(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert exit_code(arguments) == 2
    out, err = capsys.readouterr()
    assert plain(out)
    assert plain(err)
    assert err.count("\n") == 1


def test_names_in_results(command, finished, tmp_path):
    source, other = tmp_path / f"{EVIL}.bs2", tmp_path / f"{EVIL}.npy"
    source.write_bytes(b"\1\1\0\0\1")
    moved = finished.rename(finished.with_name(f"run{EVIL}"))
    for arguments in (
        ["convert", source, other],
        ["predict", moved, source],
        ["test", moved],
        ["report", moved],
        ["train", "--resume", "--out", moved],
        ["train", "--resume", "--out", moved, "--epochs", 3],
    ):
        code, out, err = command(*arguments)
        assert code == 0, err
        assert plain(out)
        assert plain(err)
        assert "\\x1b[2J" in out


def test_prefixes_and_empty_names_are_refused(command, capsys):
    """No option is taken for another, and no empty name for the current folder."""
    parsers = make_parser()._subparsers._group_actions[0].choices
    for name, parser in parsers.items():
        for action in parser._actions:
            for option in action.option_strings:
                if option.startswith("--") and option != "--help":
                    with pytest.raises(SystemExit):
                        main([name, option[:-1]])
                    assert "Traceback" not in capsys.readouterr().err
                    assert parser._get_option_tuples(option[:-1]) == []
    for arguments in (
        *(["train", option, ""] for option in ("--out", "--data")),
        *(["report", "run", option, ""] for option in ("--out", "--data")),
        *([name, ""] for name in ("train", "test", "sweep", "demo", "predict")),
        ["predict", "run", ""],
        ["convert", "", "a.bs2"],
        ["convert", "a.bs2", ""],
    ):
        with pytest.raises(SystemExit):
            main(arguments)
        assert "must not be empty" in capsys.readouterr().err


@pytest.mark.parametrize(("page", "name"), [*itertools.product(("/", "."), ("report", "demo"))])
def test_a_page_is_no_folder(refused, finished, page, name):
    refused(f"{name}: --out must be a file, such as ", name, finished, "--out", page)


@pytest.mark.parametrize("secret", ["s3cret", "a@b:c", "x%2Fy", "p/q?"])
def test_passwords(secret, capsys):
    url = f"postgresql+psycopg2://ann:{secret}@host:5/runs?sslpassword=t0p"
    errors.say(without_password(f"the study {url} cannot be opened: {secret} at {url}", url))
    err = capsys.readouterr().err
    assert secret not in err
    assert "t0p" not in err
    assert "ann" in err


def test_a_study_that_cannot_be_opened_says_no_password(refused, tmp_path):
    pytest.importorskip("optuna")
    (tmp_path / "sweep.yaml").write_text(f"out: {tmp_path / 'out'}\nkeys: {{training.batch: [1]}}\n")
    for url in ("nothing://ann:s3cret@host/runs", "://ann:s3cret@", "sqlite://ann:s3cret@host/x"):
        message = refused("sweep: the study ", "sweep", tmp_path / "sweep.yaml", "--study", url)
        assert message is None or "s3cret" not in message
