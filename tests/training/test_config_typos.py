"""A misspelled key is named before a missing one, wherever both are."""

from __future__ import annotations

import copy
import re

import pytest
import yaml

from cuslayer.cli import main
from cuslayer.training import Config, load_config

MISSING = [
    *("simulation", "neuron", "training", "simulation.Ts", "neuron.tauSr", "neuron.type"),
    *("training.error", "training.error.type", "training.error.tgtSpikeRegion"),
]
TYPOS = {
    "simulaton": "simulaton is an unknown key; did you mean simulation?",
    "simulation__tSampel": "simulation.tSampel is an unknown key; did you mean tSample?",
    "neuron__thetta": "neuron.thetta is an unknown key; did you mean theta?",
    "layer__1__dims": "layer[1].dims is an unknown key; did you mean dim?",
    "training__eror": "training.eror is an unknown key; did you mean error?",
    "training__optimizer__momentun": "training.optimizer.momentun is an unknown key; did you mean momentum?",
    "training__path__trian": "training.path.trian is an unknown key; did you mean train?",
    "training__error__probSlidinWin": "training.error.probSlidinWin is an unknown key; did you mean probSlidingWin?",
}
COMPLETE = yaml.safe_load(Config().to_yaml())


def broken(without=(), **typos):
    """Return the default document without some paths of keys, and with more keys; double underscores separate keys."""
    document = copy.deepcopy(COMPLETE)
    for path, value in typos.items():
        *outer, last = path.split("__")
        mapping = document
        for key in outer:
            mapping = mapping[int(key)] if isinstance(mapping, list) else mapping[key]
        mapping[last] = value
    for path in without:
        *outer, last = path.split(".")
        mapping = document
        for key in outer:
            mapping = mapping[key]
        del mapping[last]
    return document


SECTIONS = ("simulation", "neuron", "training", "training.error")
HINT = (
    "; a file with one of simulation, neuron and training.error needs all three, a file with none of them has defaults"
)


def refuses(message):
    return pytest.raises(ValueError, match="^" + re.escape(f"load_config: {message}") + "$")


def in_another_section():
    """Return each missing key with each typo that is not within it."""
    return [(key, typo) for key in MISSING for typo in TYPOS if not typo.replace("__", ".").startswith(key)]


@pytest.mark.parametrize(("missing", "typo"), in_another_section())
def test_a_typo_comes_before_a_missing_key(missing, typo):
    with refuses(TYPOS[typo]):
        load_config(broken([missing], **{typo: 3}))


@pytest.mark.parametrize("path", MISSING)
def test_a_missing_key_without_a_typo(path):
    with refuses(f"{path} is missing{HINT if path in SECTIONS else ''}"):
        load_config(broken([path]))


def test_other_kinds_of_neurons():
    document = broken(["simulation"])
    document["neuron"] = {"type": "LOIHI", "vThMant": 80}
    with refuses(f"simulation is missing{HINT}"):
        load_config(document)
    document["neuron"] = {"vThMant": 80, "vDecey": 128}
    with refuses("neuron.vDecey is an unknown key; did you mean vDecay?"):
        load_config(document)
    document["neuron"] = {"vThMant": 80}
    with refuses(f"simulation is missing{HINT}"):
        load_config(document)
    with refuses("neuron.vDecay is missing"):
        load_config(broken() | {"neuron": {"type": "LOIHI", "vThMant": 80}})


@pytest.mark.parametrize("kind", [[1], {"a": 1}, 3, True])
def test_a_type_that_is_no_word(kind):
    with refuses(f"neuron.type must be one of SRMALPHA, SIGMADELTA, RESONATE, LOIHI, LIF, CUBA, ALIF, got {kind!r}"):
        load_config(broken(neuron__type=kind))


@pytest.mark.parametrize(
    ("key", "section"),
    [("epochs", "training"), ("training__lr", "training.optimizer"), ("simulation__theta", "neuron")],
)
def test_a_key_of_another_section(key, section):
    with refuses(f"{key.replace('__', '.')} is an unknown key; it belongs to {section}"):
        load_config(broken(**{key: 3}))


def test_the_command_line_says_it_in_one_line(tmp_path, capsys):
    path = tmp_path / "net.yaml"
    path.write_text(yaml.safe_dump(broken(["simulation"], neuron__thetta=10)))
    assert main(["train", str(path)]) == 2
    rule = "neuron.thetta is an unknown key; did you mean theta?"
    assert capsys.readouterr().err == f"cuslayer: load_config: {path}: {rule}\n"
