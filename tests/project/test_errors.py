"""What a newcomer does wrong is an error of one line that says what to do, one for each kind of mistake."""

from __future__ import annotations

import operator
import re

import numpy as np
import pytest

import cuslayer as cs
from cuslayer._base import instead
from cuslayer.cli import main
from cuslayer.data import Arrays, Digits, Events, Loader
from cuslayer.training import Trainer
from tests.support.refused import refuses

SRM = cs.SRM()
NET = cs.Network("20-8-3", SRM)
LOSS = cs.SpikeCountLoss(SRM, true=5, false=1)
OPTIMIZER = cs.SGD(NET.parameters())
X, LABELS = np.random.default_rng(0).random((50, 4, 20)) < 0.1, np.array([0, 1, 2, 0])
ONE = Events([1.0], [1], None, [0])


def seen(layer):
    with cs.record(NET) as found:
        NET(X)
    return found[layer]


def trainer():
    return Trainer(NET, LOSS, OPTIMIZER)


MISTAKES = [
    # Axes and shapes.
    (ValueError, lambda: LOSS(NET(X.swapaxes(0, 1)), LABELS), "labels .* time is the first axis"),
    (ValueError, lambda: cs.Dense(20, 3)(X[:, 0]), r"\(T, N, C\), got shape \(50, 20\); .*x\[:, None\]"),
    (ValueError, lambda: cs.Conv(2, 3, 3)(np.zeros((5, 1, 2, 6, 6), bool)), r"weight expects 2; .*moveaxis\(x, 2, -1"),
    (ValueError, lambda: NET([[[1, 2], [1]]]), "rows of unequal length"),
    # What is no array, no neuron, no path.
    (TypeError, lambda: NET("x.npy"), "the path 'x.npy'; read the file first"),
    (TypeError, lambda: NET(ONE), r"got Events; events\.to_spikes\("),
    (TypeError, lambda: NET((X, LABELS)), "got a pair; .* unpacked"),
    (TypeError, lambda: np.asarray(ONE), "a recording is no array; to_spikes"),
    (TypeError, lambda: cs.Network("20-3", cs.SRM), r"the class SRM; write SRM\("),
    (TypeError, lambda: cs.Sequential([cs.Dense(20, 3), SRM]), r"got list; write Sequential\(\*stages\)"),
    (TypeError, lambda: cs.read_events(3), "path must be a path, got int"),
    # Losses and training.
    (TypeError, lambda: LOSS(NET(X), LABELS.astype(float)), r"got float64; labels\.astype\(int\)"),
    (ValueError, lambda: LOSS(np.eye(3)[LABELS], NET(X)), "the spikes come first, then the labels"),
    (ValueError, lambda: cs.SpikeTimeLoss(SRM)(NET(X), LABELS), "for classes take SpikeCountLoss"),
    (ValueError, lambda: cs.SpikeCountLoss(SRM, true=500)(NET(X), LABELS), "true must be at most 50"),
    (TypeError, lambda: trainer().train(Digits("test")), r"the data set Digits; .* Loader\(dataset"),
    (TypeError, lambda: trainer().train((X, LABELS)), r"one batch; write \[\(x, target\)\]"),
    (TypeError, lambda: Trainer(LOSS, NET, OPTIMIZER), "net must be a Network .*, got SpikeCountLoss"),
    (TypeError, lambda: Trainer(NET, LOSS, cs.Adam), r"the class Adam; write Adam\(\.\.\.\)"),
    (TypeError, lambda: cs.diagnose(NET, [(X, LABELS, 1)]), r"pair \(x, target\), got tuple of 3"),
    # Names.
    (TypeError, lambda: cs.Conv(2, 3, 3, strid=2), "'strid'; did you mean stride?"),
    (TypeError, lambda: cs.Adam(NET.parameters(), learning_rate=0.1), "'learning_rate'; it is lr here"),
    (
        TypeError,
        lambda: cs.SumPool(2),
        r"missing a required argument: 'gain'; write SumPool\(kernel_size, gain, ",
    ),
    (TypeError, lambda: cs.optim.cosine_decay(warmup=5), r"'warmup'; the optimizer has it, as in Adam\(\.\.\., warmup"),
    (
        TypeError,
        lambda: trainer().fit([], None, 3),
        r"too many positional arguments; write fit\(batches, valid",
    ),
    (TypeError, lambda: NET(X, X), r"network: too many positional arguments; it takes \(x\)"),
    (TypeError, lambda: cs.data.Jitter(1, 2), r"Jitter: too many positional arguments; write Jitter\(pixels\)"),
    # Indices.
    (IndexError, lambda: seen(9), r"layer must be under 4, got 9; its layers are 0 Dense\(20, 8\), 1 SRM"),
    (IndexError, lambda: Digits("test")[360], "360 samples, got 360"),
    (TypeError, lambda: Digits("test")[:3], "an integer, got slice; Subset"),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=[message for _, _, message in MISTAKES])
def test_a_mistake_is_explained_in_one_line(mistake):
    kind, make, message = mistake
    with pytest.raises(kind, match=message) as found:
        make()
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("call", "found"),
    [
        (lambda: cs.Dense(0, 3), ("Dense", "in_features", "must be at least 1", 0)),
        (lambda: cs.Dropout("a"), ("Dropout", "p", "must be a number", "a")),
        (lambda: cs.SumPool((1, 2, 3), 1.0), ("SumPool", "kernel_size", "must be one integer or two", (1, 2, 3))),
        (
            lambda: cs.functions.decimate(X, factor=2, how="no"),
            ("decimate", "how", "must be one of sum, mean, max, last", "no"),
        ),
        (lambda: setattr(OPTIMIZER, "lr", -1), ("SGD", "lr", "must not be negative", -1)),
    ],
)
def test_errors_have_their_parts(call, found):
    with pytest.raises((TypeError, ValueError)) as problem:
        call()
    error = problem.value
    assert (error.operation, error.argument, error.rule, error.value) == found
    assert str(error).startswith(f"{error.operation}: {error.argument} {error.rule}, got ")


def test_a_layer_that_does_not_fit_into_memory(capsys):
    with refuses("Dense: a weight of shape (9999, 10000000000000000000000000) does not fit into memory"):
        cs.Dense(9999, 10**25)
    assert main(["train", "--network", f"34x34x2-{10**9 - 1}-10"]) == 2
    assert "does not fit into memory" in capsys.readouterr().err


def test_warnings_name_the_callers_line_through_the_library():
    recordings = [Events([time], [1], None, [0]) for time in (10.0, 900.0)]
    loader = Loader(Arrays(recordings, [0, 1], shape=20, classes=3), 2, steps=50)
    with pytest.warns(UserWarning, match="past the window") as found:
        trainer().train(loader)
    assert found[0].filename == __file__


OWNERS = {"layer": NET, "tensor": cs.Tensor([1.0]), "optimizer": OPTIMIZER, "package": cs}


@pytest.mark.parametrize("kind", OWNERS)
def test_each_name_of_pytorch_says_what_stands_here(kind):
    for name, meant in instead.ATTRIBUTES[kind].items():
        assert not hasattr(OWNERS[kind], name)
        with pytest.raises(AttributeError, match=f"{name} is .*; {re.escape(meant)}$"):
            getattr(OWNERS[kind], name)
        for here in re.findall(r"cs\.(?:functions\.|data\.)?\w+", meant):
            assert operator.attrgetter(here[3:])(cs)


def test_a_layer_of_ones_own_may_have_such_a_name():
    class Own(cs.Layer):
        def eval(self):
            return 3

    own = Own()
    own.modules = 4
    assert (own.eval(), own.modules) == (3, 4)


def test_settings_are_shown():
    net = cs.Network("4-3", cs.SRM())
    data = Arrays(np.ones((4, 5, 3), bool), [0, 1, 0, 1])
    for made, text in (
        (cs.SGD(net.parameters(), cs.optim.step_decay(0.1, every=2), momentum=0.9), "lr=0.1, momentum=0.9, "),
        (cs.optim.NAdam(net.parameters(), clip_norm=2), "clip_norm=2"),
        (cs.SpikeCountLoss(SRM, 20, window=(5, 30)), f"(neuron={SRM}, true=20, false=10, window=(5.0, 30.0), "),
        (
            cs.network.SparsityLoss(cs.CrossEntropyLoss(), weight=1e-3),
            "(loss=CrossEntropyLoss(over='max', dt=1), weight=0.001",
        ),
        (Loader(data, 2, shuffle=True, seed=3), "(dataset=Arrays(4 samples of spikes, 5 steps, shape (3,), 2 classes)"),
    ):
        assert repr(made).startswith(f"{type(made).__name__}(")
        assert text in repr(made)
        assert "\n" not in repr(made)
