"""Configurations that are made to do harm, or that read as something else than they seem to: one line each, at once."""

from __future__ import annotations

import os
import re

import pytest
import yaml

import cuslayer as cs
from cuslayer.cli import main
from cuslayer.training import Params, load_config
from cuslayer.training.sweep import load_sweep
from cuslayer.training.yaml_document import LARGEST_FILE, document_of
from tests.support.deaths import tiny
from tests.support.effort import at_most
from tests.training.test_config import SLAYER

# Nine levels of nine aliases: 9**9 values.
UNFOLDING = "a0: &a0 [x, x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10))


# Of functions, to refuse a file: many times what is needed, and far less than what the file asks for.
CALLS = 2_000_000


@pytest.fixture
def refused(tmp_path):
    """Check that a file is refused with little work by one line that names it and holds a message."""

    def refused(raw, message, kind=ValueError, reader=load_config):
        path = tmp_path / "network.yaml"
        path.write_bytes(raw if isinstance(raw, bytes) else raw.encode())
        with pytest.raises(kind) as caught, at_most(CALLS):
            reader(path)
        text = str(caught.value)
        assert str(path) in text
        assert message in text
        assert "\n" not in text
        assert len(text) < 1000

    return refused


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (UNFOLDING, "a4[0]: the document must have at most 4000 values, got more"),
        ("a: &a [1, 2]\n" + "b: [" + "*a, " * 1400 + "]", "the document must have at most 4000 values, got more"),
        ("a: &a [*a]", "a[0]: *a must follow its anchor"),
        ("a: *b", "a: *b must follow its anchor"),
        ("a: &x {b: 1}\nc:\n  <<: [" + "*x, " * 9999 + "]", "at most 4000 values"),
        ("a: " + "[" * 10_000, "network.yaml: the document must not be nested deeper than 32 levels"),
        ("{a: " * 10_000, "network.yaml: the document must not be nested deeper than 32 levels"),
        ("- " * 10_000, "[0][0]: the document must not be nested deeper than 32 levels"),
        ("? " * 10_000, "the document must not be nested deeper than 32 levels"),
        ("a: [" + "1, " * 10_000 + "]", "the document must have at most 4000 values, got more"),
        ("# " + "x" * LARGEST_FILE, f"a configuration must have at most {LARGEST_FILE} bytes, got more"),
        ("training: {seed: 1, seed: 2}", "training.seed must be there once, got it twice"),
        ("true: 1\nyes: 2", "true must be there once, got it twice"),
        ("a: !!python/object/apply:os.system ['true']", "a: tags are not allowed, got 'tag:yaml.org,2002:python"),
        ("a: !!int 3", "a: tags are not allowed, got 'tag:yaml.org,2002:int'"),
        ("a: !own 3", "a: tags are not allowed, got '!own'"),
        ("? [a, b]\n: 1", "a key must be a word or a number, got ['a', 'b']"),
        ("? " + "k" * 101 + "\n: 1", "a key must have at most 100 characters, got 101"),
        ("a: " + "v" * 4097, "a: a value must have at most 4096 characters, got 4097"),
        ("a: " + "9" * 400, "a: an integer must lie within 2**128 of 0, got 99999999999999999999..."),
        (f"a: {2**128 + 1}", "a: an integer must lie within 2**128 of 0, got 34028236692093846346..."),
        ("<<: 3", "<< must be a mapping or a list of mappings, got 3"),
        ("a: 1\n---\nb: 2", "must be one document, got several"),
        ("a: 1\0", "is no YAML: unacceptable character #x0000"),
        ("a: 1".encode("utf-16"), "is no YAML: 'utf-8' codec can't decode"),
        (b"a: \xff\xfe", "is no YAML: 'utf-8' codec can't decode"),
        ("a: [", "is no YAML: "),
        ("a: &" + "n" * 50_000 + " 1\nb: *" + "m" * 50_000, "must follow its anchor"),
    ],
)
def test_a_hostile_document_is_refused(refused, text, message):
    refused(text, message)
    refused(text, message, reader=Params)


@pytest.mark.parametrize("word", ["٣", "1٦c5", "8c५", "߂a", "٣avg", "3²", "௩r", "६out", "6x٦x2"])
def test_digits_of_other_scripts_are_no_word(refused, word):
    refused(f"layer: [{{dim: 6x6x2}}, {{dim: '{word}'}}, {{dim: 3}}]", f"layer[1].dim '{word}'")
    with pytest.raises(ValueError, match=re.escape(f"Network: {word!r}")):
        cs.Network(f"6x6x2-{word}-3", cs.SRM())


SECRET = ["root:x:0:0:Charlie Root:/root:/bin/sh", "user topsecret", "- topsecret: [", "4111111111111111 9999999999"]


@pytest.mark.parametrize("line", SECRET)
@pytest.mark.parametrize("where", ["train", "test", "in", "sound"])
def test_no_message_shows_another_file(tmp_path, capsys, line, where):
    """A configuration may name any file that its reader can read; what is in it stays there."""
    (tmp_path / "passwd").write_text(f"{line}\n{line}\n")
    tiny(tmp_path)
    paths = {"in": str(tmp_path / "data"), "train": "train.txt", "test": "test.txt"}
    document = {"layer": [{"dim": "6x6x2"}, {"dim": "2"}], "training": {"path": paths}}
    if where == "sound":
        document["sound"] = {"channels": 8}
        paths.clear()
    paths["in" if where == "sound" else where] = str(tmp_path / "passwd")
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(document))
    assert main(["train", str(tmp_path / "run.yaml"), "--out", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "passwd" in err
    words = [word for word in re.split(r"[^A-Za-z0-9]+", line) if len(word) > 3 or word == "x"]
    assert not [word for word in words if word in err.replace(str(tmp_path), "")], err


def test_a_file_that_is_no_configuration_is_not_shown(tmp_path):
    """Lines around a wrong character, of a file that a sweep or a command names."""
    (tmp_path / "passwd").write_text("root: x: 0: Charlie\n")
    (tmp_path / "sweep.yaml").write_text("config: passwd\nout: out\nkeys: {training.batch: [1]}\n")
    for read in (lambda: load_config(tmp_path / "passwd"), lambda: load_sweep(tmp_path / "sweep.yaml")):
        with pytest.raises(ValueError, match=r"passwd is no YAML: line 1, column 8: mapping values are not allowed"):
            read()


@pytest.mark.parametrize(
    ("literal", "got"),
    [
        ("2001-01-01", "must be a number, got str"),
        ("2001-01-01 10:00:00", "must be a number, got str"),
        ("1:30", "must be a number, got str"),
        ("1:30.5", "must be a number, got str"),
        ("010", "must be a number, got str"),
        ("0x10", "must be a number, got str"),
        ("0b10", "must be a number, got str"),
        ("1_000", "must be a number, got str"),
        ("1_000.5", "must be a number, got str"),
        ("'1_000'", "must be a number, got str"),
        ("nan", "must be finite, got nan"),
        ("inf", "must be finite, got inf"),
        ("=", "must be a number, got str"),
        (".nan", "must be finite, got nan"),
        (".inf", "must be finite, got inf"),
        ("-.inf", "must be finite, got -inf"),
        ("1e999", "must be finite, got inf"),
        ("1.0e+999", "must be finite, got inf"),
        ("9e15", "must be less than 2**31 steps of simulation.Ts, got 9e+15 ms in steps of 1 ms"),
    ],
)
def test_what_is_no_plain_number_is_no_number(refused, literal, got):
    kind = TypeError if "str" in got else ValueError
    refused(SLAYER.replace("tSample: 300", f"tSample: {literal}"), f": simulation.tSample {got}", kind)


@pytest.mark.parametrize("literal", ["010", "1_0", "0x1", "1:30", "2001-01-01"])
def test_what_is_no_plain_integer_is_no_integer(refused, literal):
    text = SLAYER.replace("nSample: 12", f"nSample: {literal}")
    refused(text, ": simulation.nSample must be an integer, got str", TypeError)


def test_words_that_yaml_reads_as_numbers_are_words():
    text = "a: 010\nb: 2024-01-01\nc: 1:30\nd: 1e-3\ne: +7\nf: -0.5\ng: 12.\nh: '3'\ni: ~\nj: off"
    assert document_of(text) == {
        **{"a": "010", "b": "2024-01-01", "c": "1:30", "d": "1e-3"},
        **{"e": 7, "f": -0.5, "g": 12.0, "h": "3", "i": None, "j": False},
    }


def test_anchors_and_merge_keys_of_ordinary_files_are_followed():
    text = "base: &b {x: 1, y: [2, 3]}\nother: {<<: *b, x: 5}\nboth: {<<: [*b, {x: 9, z: 8}]}\nagain: *b"
    assert document_of(text) == yaml.safe_load(text)
    assert document_of("") is None
    assert document_of(SLAYER) == yaml.safe_load(SLAYER)


def test_a_byte_order_mark_is_ignored(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbf" + SLAYER.encode())
    (tmp_path / "b.yaml").write_text(SLAYER)
    assert load_config(tmp_path / "a.yaml") == load_config(tmp_path / "b.yaml")


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "a.yaml")
    for path in (tmp_path / "a.yaml", tmp_path, "/dev/zero"):
        with pytest.raises(ValueError, match=f"^load_config: {re.escape(str(path))} is no file$"):
            load_config(path)


def test_no_file(tmp_path):
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ValueError, match=r"^load_config: .* is no file$"):
            load_config(path)


def test_bytes_that_are_not_text(tmp_path):
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x81")
    with pytest.raises(ValueError, match=r"x\.yaml is no YAML"):
        load_config(tmp_path / "x.yaml")
