"""Configurations that are refused: by one line that names the key, at once, and without the content of the file."""

from __future__ import annotations

import os
import re

import pytest
import yaml

from cuslayer.cli import main
from cuslayer.training import Config, Params, load_config
from cuslayer.training.params import LARGEST_FILE, document_of
from cuslayer.training.sweep import load_sweep
from tests.support.deaths import tiny
from tests.support.effort import at_most
from tests.training.test_config import LAYERS, SLAYER

# Nine levels of nine aliases: 9**9 values.
UNFOLDING = "a0: &a0 [x, x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10))
# Of functions, to refuse a file: many times what is needed, and far less than what the file asks for.
CALLS = 2_000_000
DEEP = "the document must not be nested deeper than 32 levels"
MANY = "the document must have at most 4000 values, got more"
HINT = (
    "; a file with one of simulation, neuron and training.error needs all three, a file with none of them has defaults"
)


def changed(*items, base=SLAYER):
    """Return a document with other values at some paths, of keys with slashes between them; None removes the key."""
    document = yaml.safe_load(base)
    for path, value in items:
        *outer, last = [
            int(key) if key.isdigit() else {"true": True, "false": False}.get(key, key) for key in path.split("/")
        ]
        place = document
        for key in outer:
            place = place[key]
        if value is None:
            del place[last]
        else:
            place[last] = value
    return document


def named(path):
    return re.sub(r"layer/(\d)", r"layer[\1]", path).replace("/", ".")


def refuses(message, kind=ValueError, *, whole=True):
    return pytest.raises(kind, match="^(load_config|Config): " + re.escape(message) + "$" * whole)


SECTIONS = ("simulation", "neuron", "training", "training/error")
NEEDED = ("simulation/Ts", "simulation/tSample", "neuron/type", "neuron/tauSr", "layer/1/dim", "training/error/type")
OF_SPIKES = ("tgtSpikeRegion", "tgtSpikeRegion/stop", "tgtSpikeCount", "tgtSpikeCount/true")


@pytest.mark.parametrize("path", [*SECTIONS, *NEEDED, *(f"training/error/{key}" for key in OF_SPIKES)])
def test_a_missing_key_is_named_and_a_misspelled_one_before_it(path):
    with refuses(f"{named(path)} is missing{HINT if path in SECTIONS else ''}"):
        load_config(changed((path, None)))
    typo = "training/eposch" if path != "training" else "simulation/eposch"
    cure = "did you mean epochs?" if path != "training" else "there are Ts, nSample, tSample"
    with refuses(f"{named(typo)} is an unknown key; {cure}"):
        load_config(changed((typo, 3), (path, None)))
    with refuses("training.error.smoothing is an unknown key"):
        load_config(changed(("training/error/smoothing", 0.1)))


def test_keys_that_are_needed_with_others():
    for more, missing in (
        ({"training": {"sparsity": {"allowed": 3}}}, "training.sparsity.weight"),
        ({"training": {"parallel": {"fast": True}}}, "training.parallel.micro"),
    ):
        with refuses(f"{missing} is missing"):
            load_config({"layer": LAYERS, **more})
    with refuses("training.error.probSlidingWin is missing"):
        load_config(changed(("training/error/type", "ProbSpikes"), ("training/error/probSlidingWin", None)))
    with refuses("training.error.tgtSpikeRegion.start is missing"):
        load_config(changed(("training/error/type", "CrossEntropy"), ("training/error/tgtSpikeRegion/start", None)))
    with refuses("neuron.theta is missing"):
        load_config(changed(("neuron", {**yaml.safe_load(SLAYER)["neuron"], "theta": None})))
    with refuses("neuron.vDecay is missing"):
        load_config(changed(("neuron", {"type": "LOIHI", "vThMant": 80})))


def test_some_of_slayers_sections_are_not_completed():
    """A file with one of them is SLAYER's, where the others are forgotten."""
    slayer = yaml.safe_load(SLAYER)
    for more, missing in (
        ({"simulation": {"Ts": 1.0, "tSample": 300}}, "neuron"),
        ({"neuron": slayer["neuron"]}, "simulation"),
        ({"training": {"error": slayer["training"]["error"]}}, "simulation"),
    ):
        with refuses(f"{missing} is missing{HINT}"):
            load_config({"layer": LAYERS, **more})


def test_an_unknown_key():
    for path, said in (
        ("simulatoin", "; did you mean simulation?"),
        ("layer/1/dims", "; did you mean dim?"),
        ("training/error/tgtSpikeCount/flase", "; did you mean false?"),
        ("training/error/tgtSpikeCount/zzz", "; there are true, false"),
        ("zzz", "; there are simulation, neuron, layer, sound, training"),
        ("epochs", "; it belongs to training"),
        ("simulation/theta", "; it belongs to neuron"),
        ("training/optimizer/weight_decay", "; did you mean weightDecay?"),
    ):
        with refuses(f"{named(path)} is an unknown key{said}"):
            load_config(changed(("training/optimizer", {}), (path, 1)))
    with refuses("neuron.vDecey is an unknown key; did you mean vDecay?"):
        load_config(changed(("neuron", {"vThMant": 80, "vDecey": 128})))
    with refuses("neuron.vDecay is an unknown key"):
        load_config(changed(("neuron/vDecay", 128)))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("simulation", [1], "must be a mapping, got list"),
        ("simulation/Ts", "one", "must be a number, got str"),
        ("simulation/nSample", 1.5, "must be an integer, got float"),
        ("layer/1/bias", 1, "must be true or false, got 1"),
        ("training/error/tgtSpikeCount", 60, "must be a mapping, got int"),
        ("training/path/in", 7, "must be a path, got 7"),
        ("training/optimizer/weightDecay", "never", "must be a number, got str"),
    ],
)
def test_a_value_of_the_wrong_type(path, value, message):
    with refuses(f"{named(path)} {message}", TypeError):
        load_config(changed(("training/optimizer", {}), (path, value)))


ERROR, OPTIMIZER = "training/error", "training/optimizer"
# What is just out of range: the value, the rule, and the keys that have it.
RANGES = [
    (0, "must be positive", ["simulation/Ts", "layer/1/wScale", "training/firingRate"]),
    (0, "must be positive", [f"{OPTIMIZER}/clipNorm", f"{OPTIMIZER}/clipValue"]),
    (-1, "must not be negative", ["neuron/scaleRef", "layer/1/maxDelay"]),
    (-1, "must not be negative", [f"{OPTIMIZER}/weightDecay", f"{OPTIMIZER}/lr"]),
    (0, "must be at least 1", ["simulation/nSample", "training/epochs"]),
    (-1, "must be at least 0", ["training/seed", f"{OPTIMIZER}/warmup"]),
    (1, "must lie in [0, 1)", ["layer/1/dropout"]),
]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        *((path, value, f"{rule}, got {value}") for value, rule, paths in RANGES for path in paths),
        ("simulation/tSample", float("nan"), "must be finite, got nan"),
        ("simulation/tSample", 2.0**31, "must be less than 2**31 steps of simulation.Ts, got 2.14748e+09 ms in st"),
        (
            "neuron/type",
            "IZHIKEVICH",
            "must be one of SRNN, SRMALPHA, SIGMADELTA, RESONATE, LOIHI, LIF, IF, CUBA, BRF, ALIF, ADLIF, got",
        ),
        ("layer", [{"dim": "34x34x2"}], "must be a list of an input and at least one layer"),
        ("layer/1/groups", 2, "is not for '512', a dense word"),
        ("layer/1/norm", "stdd", "must be one of none, power, std, rms, got 'stdd'; did you mean std?"),
        ("layer/1/dim", "5x5x2", "'5x5x2' is an input, which must be the first word"),
        ("training/error/type", "CrossEntropyLos", "must be one of BinaryCrossEntropyLoss, CrossEntropyLoss, "),
        ("training/validation", 0, "must be a share between 0 and 1, or a label list, got 0"),
        ("training/validation", 1.0, "must be a share between 0 and 1, or a label list, got 1"),
        ("training/initialization", 3, "must be one of calibrated, slayer, got 3"),
        ("training/optimizer/type", "adam", "must be one of Adam, "),
        (
            "training/optimizer/schedule",
            "stepp",
            "must be one of cosine_decay, step_decay, constant, plateau, step, cosine, got 'st",
        ),
    ],
)
def test_a_value_out_of_range(path, value, message):
    with refuses(f"{named(path)}{'' if message[0] == '.' else ' '}{message}", whole=False):
        load_config(changed(("training/optimizer", {}), (path, value)))


def test_an_argument_of_a_loss_that_its_class_refuses():
    for key, value, said in (
        ("tgtSpikeRegion/start", -1, "window must not be negative, got -1"),
        ("tgtSpikeCount/false", -1, "false must not be negative, got -1"),
        ("numSpikesScale", 0, "countScale must be positive, got 0"),
        ("piecewise", 1, "piecewise must be a bool, got int"),
    ):
        with pytest.raises((ValueError, TypeError), match=rf"training\.error\.{said}$"):
            load_config(changed((f"{ERROR}/{key}", value)))


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"type": "SGD", "momentum": 1}, r"momentum must lie in \[0, 1\), got 1"),
        ({"type": "NAdam", "momentumDecay": "never"}, "momentumDecay must be a number, got str"),
        ({"schedule": "step", "every": 0}, "schedule.every must be at least 1, got 0"),
        ({"schedule": {"type": "step_decay", "factor": 0}}, "schedule.factor must be positive, got 0"),
        ({"schedule": {"type": "step_decay", "factr": 0}}, r"schedule.factr is an unknown key; did you mean factor\?"),
    ],
)
def test_an_argument_of_an_optimizer_or_a_schedule_that_it_refuses(section, said):
    with pytest.raises((ValueError, TypeError), match=rf": training\.optimizer\.{said}$"):
        load_config({"layer": LAYERS, "training": {"optimizer": section}})


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
        (UNFOLDING, f"line 4: {MANY}"),
        ("a: &x {b: 1}\nc:\n  <<: [" + "*x, " * 9999 + "]", MANY),
        pytest.param("a: [" + "1, " * 10_000 + "]", MANY, marks=pytest.mark.all),
        ("a: &a [*a]", "line 1: *a must follow its anchor"),
        ("a: &a\n  <<: *a", "line 2: *a must follow its anchor"),
        ("a: &" + "n" * 50_000 + " 1\nb: *" + "m" * 50_000, "must follow its anchor"),
        pytest.param("a: " + "[" * 10_000, DEEP, marks=pytest.mark.all),
        ("? " * 10_000, DEEP),
        ("# " + "x" * LARGEST_FILE, f"a configuration must have at most {LARGEST_FILE} bytes, got more"),
        ("training: {seed: 1, seed: 2}", "line 1: seed must be there once, got it twice"),
        ("true: 1\nyes: 2", "line 2: yes must be there once, got it twice"),
        ("a: !!python/object/apply:os.system ['true']", "line 1: tags are not allowed, got 'tag:yaml.org,2002:python"),
        ("? [a, b]\n: 1", "a key must be a word or a number of at most 100 characters"),
        ("a: " + "v" * 4097, "a value must have at most 4096 characters, got 4097"),
        ("a: " + "9" * 400, "an integer must lie within 2**128 of 0, got 99999999999999999999..."),
        ("<<: 3", "is no YAML: line 1"),
        ("a: 1\n---\nb: 2", "is no YAML: line 2, column 1: but found another document"),
        ("a: 1\0", "is no YAML: unacceptable character #x0000"),
        ("a: 1".encode("utf-16"), "is no YAML: 'utf-8' codec can't decode"),
    ],
)
def test_a_hostile_document_is_refused(refused, text, message):
    refused(text, message)
    refused(text, message, reader=Params)


@pytest.mark.parametrize("literal", ["2001-01-01", "1:30", "010", "0x10", "1_000", "'1_000'", "="])
def test_what_is_no_plain_number_is_no_number(refused, literal):
    for key, kind in (("tSample: 300", "a number"), ("nSample: 12", "an integer")):
        text = SLAYER.replace(key, f"{key.split()[0]} {literal}")
        refused(text, f": simulation.{key.split(':')[0]} must be {kind}, got str", TypeError)


@pytest.mark.parametrize(("literal", "got"), [("nan", "nan"), ("-.inf", "-inf"), ("1e999", "inf")])
def test_numbers_that_are_not_finite(refused, literal, got):
    refused(SLAYER.replace("tSample: 300", f"tSample: {literal}"), f"simulation.tSample must be finite, got {got}")


def test_words_that_yaml_reads_as_numbers_are_words():
    text = "a: 010\nb: 2024-01-01\nc: 1:30\nd: 1e-3\ne: +7\nf: -0.5\ng: 12.\nh: '3'\ni: ~\nj: off\nk: Yes\nl: .5"
    assert document_of(text) == {
        **{"a": "010", "b": "2024-01-01", "c": "1:30", "d": "1e-3"},
        **{"e": 7, "f": -0.5, "g": 12.0, "h": "3", "i": None, "j": False, "k": True, "l": 0.5},
    }


def test_anchors_and_merge_keys_of_ordinary_files_are_followed():
    text = "base: &b {x: 1, y: [2, 3]}\nother: {<<: *b, x: 5}\nboth: {<<: [*b, {x: 9, z: 8}]}\nagain: *b"
    text += "\nin: {a: &a {<<: *b, x: 6}}\nlast: {<<: *a}"
    assert document_of(text) == yaml.safe_load(text)
    assert document_of("") is None
    assert document_of(SLAYER) == yaml.safe_load(SLAYER)


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


def test_a_byte_order_mark_is_ignored(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbf" + SLAYER.encode())
    (tmp_path / "b.yaml").write_text(SLAYER)
    assert load_config(tmp_path / "a.yaml") == load_config(tmp_path / "b.yaml")


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "a.yaml")
    for path in (tmp_path / "a.yaml", tmp_path, "/dev/zero"):
        with pytest.raises(ValueError, match=f"^load_config: {re.escape(str(path))} is no file$"):
            load_config(path)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("neuron", "a neuron"),
        ("sound", "training.SoundConfig or None"),
        ("error", 'training.Named, as in Named("SpikeCountLoss")'),
        ("optimizer", "training.OptimizerConfig"),
    ],
)
def test_an_argument_of_another_type_is_refused(name, what):
    with pytest.raises(TypeError, match=f"^Config: {name} must be {re.escape(what)}, got str$"):
        Config(**{name: "X"})
