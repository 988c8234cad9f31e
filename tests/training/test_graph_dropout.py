"""Captured steps of networks with dropout and delays: the bits of other steps, and nothing is read back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import backend, functions
from cuslayer.backend import to_numpy
from cuslayer.data import Loader
from cuslayer.training import Checkpoint, Trainer, load_checkpoint
from tests.support.fake_cupy import counted
from tests.training.test_graph import cuda as cuda
from tests.training.test_graph import data

SRM = cs.SRM(tau_sr=3.0, theta=3.0)


def dropout() -> list[Any]:
    return [cs.Dense((4, 4, 2), 6), SRM, cs.Dropout(0.4), cs.Dense(6, 3), SRM]


def dropout_of_input_and_images() -> list[Any]:
    return [
        cs.Dropout(0.2),
        cs.Conv(2, 3, 3, padding=1),
        SRM,
        cs.Dropout(0.5),
        cs.Conv(3, 2, 3),
        SRM,
        cs.Dense((2, 2, 2), 3),
        SRM,
    ]


def delays() -> list[Any]:
    first = cs.Delay(2, dt=1.0), cs.Conv(2, 3, 3, padding=1), SRM, cs.Delay((4, 4, 3), dt=1.0, max_delay=5.0)
    return [*first, cs.Pool(2, gain=3.3), SRM, cs.Dense((2, 2, 3), 3), SRM, cs.Delay(3, dt=1.0)]


def both() -> list[Any]:
    return [cs.Dense((4, 4, 2), 6), SRM, cs.Delay(6, dt=1.0, max_delay=3.0), cs.Dropout(0.3), cs.Dense(6, 3), SRM]


def trainer_of(layers: Callable[[], list[Any]], graph: bool, seed: int = 1) -> Trainer:
    cs.seed(seed)
    net = cs.Sequential(*layers())
    for layer in net.layers:
        if isinstance(layer, cs.Delay):
            layer.delay.data *= 3.7
    loss = cs.SpikeCountLoss(SRM, true=6, false=1)
    return Trainer(net, loss, cs.Adam(net.parameters(), lr=0.05), calibrate=None, graph=graph)


def loader() -> Loader:
    return Loader(data(), 2, steps=12, shuffle=True, seed=0)


def weights(trainer: Trainer) -> list[bytes]:
    return [to_numpy(p.data).tobytes() for p in trainer.net.parameters()]


@pytest.mark.parametrize("layers", [dropout_of_input_and_images, delays])
def test_graphs_have_the_bits_of_plain_steps(layers: Callable[[], list[Any]]) -> None:
    found = []
    for graph in (True, False):
        trainer = trainer_of(layers, graph)
        before = weights(trainer)
        scores = trainer.train(loader())
        assert trainer.graph_problem is None
        assert all(a != b for a, b in zip(before, weights(trainer), strict=True))
        found.append((scores, weights(trainer), backend.generator_state()))
    assert found[0] == found[1]


@pytest.mark.parametrize("graph", [True, False])
def test_steps_read_nothing_back(graph: bool) -> None:
    trainer, found = trainer_of(both, graph), list[int]()

    def batches() -> Any:
        for batch in list(loader()):
            with counted() as costs:
                yield batch
            found.append(costs.readbacks)

    trainer.train(batches())
    assert found == [0] * 7


def test_a_seed_within_an_epoch() -> None:
    """The launches after it draw with its key, as steps that are not captured do."""
    for at in (2, 5):
        found = []
        for graph in (True, False):
            trainer = trainer_of(dropout, graph)

            def batches(at: int = at) -> Any:
                for number, batch in enumerate(loader()):
                    if number == at:
                        cs.seed(7)
                    yield batch

            trainer.train(batches())
            assert trainer.graph_problem is None
            found.append((weights(trainer), backend.generator_state()))
        assert found[0] == found[1]


@pytest.mark.parametrize("graph", [True, False])
def test_a_resumed_run_has_the_bits_of_one_that_never_stopped(graph: bool, tmp_path: Path) -> None:
    straight = trainer_of(both, graph)
    straight.train(loader())
    Checkpoint.of(1, straight.net, straight.optimizer).save(tmp_path / "c.npz")
    straight.train(loader())
    ended = weights(straight), backend.generator_state()
    again = trainer_of(both, graph, seed=5)
    again.train(loader(), steps=1)
    load_checkpoint(tmp_path / "c.npz").restore(again.net, again.optimizer)
    again.train(loader())
    assert (weights(again), backend.generator_state()) == ended


def test_outside_of_training_nothing_is_drawn() -> None:
    trainer = trainer_of(dropout, True)
    trainer.train(loader())
    before = backend.generator_state()
    assert before["device"][1] == 7
    scores = [trainer.test(loader()) for _ in range(2)]
    assert scores[0] == scores[1]
    assert backend.generator_state() == before
    with cs.no_grad():
        x = np.ones((3, 2, 50), np.float32)
        one, other = (functions.dropout(x, p=0.5).data for _ in range(2))
    assert (to_numpy(one) != to_numpy(other)).any()
    assert backend.generator_state()["device"] == [before["device"][0], 9]


def test_what_is_drawn_in_a_block_that_preserves_the_generator() -> None:
    x = np.ones((1, 2, 50), np.float32)

    def drawn() -> bytes:
        return to_numpy(functions.dropout(x, p=0.5).data).tobytes()

    cs.seed(4)
    for _ in range(2):
        # Before the first draw, and after it.
        before = backend.generator_state()
        with counted() as costs, backend.preserved_generator():
            within = drawn(), drawn()
        assert costs.readbacks == 2
        assert backend.generator_state() == before
        assert (drawn(), drawn()) == within
    assert within[0] != within[1]


def test_a_state_that_is_none() -> None:
    before = backend.generator_state()
    for device in ([1], [1, 2.0], "12"):
        with pytest.raises(ValueError, match=r"^load_generator_state: device must be a key and a number, got "):
            backend.load_generator_state(before | {"device": device})
    with pytest.raises(ValueError, match="PCG64"):
        backend.load_generator_state({"bit_generator": "MT19937", "device": [1, 2]})
    assert backend.generator_state() == before
