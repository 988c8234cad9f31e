"""Errors of missing or wrong arguments name the class that was called, and what is expected."""

from __future__ import annotations

import re

import pytest

import cuslayer as cs
from cuslayer.cli import main
from cuslayer.data import Events
from cuslayer.interchange import export_hdf5, import_hdf5
from cuslayer.training import Trainer

NET = cs.Sequential(cs.Dense(4, 2), cs.SRM())
LOSS = cs.SpikeCountLoss(cs.SRM())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: cs.Pool(2), "Pool: missing a required argument: 'gain'"),
        (lambda: cs.Unpool(2), "Unpool: missing a required argument: 'gain'"),
        (lambda: cs.Pool(2, 11, 2), "Pool: too many positional arguments"),
        (lambda: cs.Conv(2, 3), "Conv: missing a required argument: 'kernel_size'"),
        (lambda: cs.Conv(2, 3, 3, strid=2), "Conv: got an unexpected keyword argument 'strid'; did you mean stride?"),
        (lambda: Events([1.0], [0], [0]), "Events: p must be given for events in 2-D, the polarities from 0"),
        (lambda: Trainer(NET, LOSS, cs.Adam), "Trainer: optimizer is the class Adam; write Adam(...)"),
        (
            lambda: Trainer(NET, cs.SpikeCountLoss, cs.Adam(NET.parameters())),
            "Trainer: loss is the class SpikeCountLoss; write SpikeCountLoss(...)",
        ),
        (
            lambda: cs.Dense(3, 2, weight_hook=[abs, abs]),
            "Dense: weight_hook must be callable, got list; several are a tuple, (first, second)",
        ),
        (
            lambda: export_hdf5(NET, "never.net", input_shape=2.5),
            "export_hdf5: input_shape must be an integer, got float",
        ),
    ],
)
def test_what_is_missing_or_wrong(make, message):
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        make()


def test_the_gain_may_stand_second():
    for kind in (cs.Pool, cs.Unpool):
        assert repr(kind(2, 11)) == repr(kind(2, gain=11))


def test_one_dimensional_events_need_no_rows_and_polarities():
    for given in ((), (None,), (None, None)):
        assert Events([1.0, 2.0], [3, 4], *given) == Events([1.0, 2.0], [3, 4], None, [0, 0])


def test_the_input_of_an_exported_network_may_be_a_number(tmp_path):
    pytest.importorskip("h5py")
    net = cs.Sequential(cs.Dense(8, 2), cs.SRM())
    export_hdf5(net, tmp_path / "a.net", input_shape=8)
    assert import_hdf5(tmp_path / "a.net")[0].in_features == (8,)


@pytest.mark.parametrize("size", [99999999999, 10**17, 10**25])
def test_a_layer_that_does_not_fit_into_memory(size, capsys):
    with pytest.raises(ValueError, match=rf"^Dense: a weight of shape \(9999, {size}\) does not fit into memory$"):
        cs.Dense(9999, size)
    assert main(["train", "--network", f"34x34x2-{size}-10"]) == 2
    assert "does not fit into memory" in capsys.readouterr().err
