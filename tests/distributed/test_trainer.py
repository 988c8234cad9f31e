"""A trainer whose batches are divided: what it computes, errors and stops that all share, and what it reads."""

import re
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import backend
from cuslayer.data import Arrays, Loader
from cuslayer.data.batches import Shares
from cuslayer.distributed import Context, DataParallel, sums
from cuslayer.distributed.context import Request
from cuslayer.network.notation import Word
from cuslayer.training import NotFiniteError, Stopped, Trainer, load_config, train
from cuslayer.training.steps import ParallelStep, RunningStatistics, agreed
from tests.support.after_step import AfterStep
from tests.support.deaths import results, tiny
from tests.support.divided import emulated, loader, networks, trained, trainer
from tests.support.processes import together
from tests.support.tiny import no_figures, silent
from tools import fake_cupy

MLP = networks()["MLP"]


def test_micro_batches_have_the_gradient_of_the_batch():
    """But for rounding, a step by micro-batches is one by the whole batch."""
    found = []
    for parallel in (None, DataParallel(Context(), micro=3)):
        cs.seed(3)
        net = MLP()
        optimizer = cs.SGD(net.parameters(), lr=1e-4)
        mine = Trainer(net, cs.SpikeCountLoss(cs.SRM(theta=3.0), true=6, false=1), optimizer, parallel=parallel)
        score = mine.train(loader())
        tested = mine.test(list(loader(shuffle=False)))
        found.append(
            (*score[:2], *tested[:2], mine.gradients.epochs[0]["0 Dense"], *net.parameters()[1].data.ravel()[:5])
        )
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)


def test_each_process_reads_its_share():
    """Three batches of 10, 10 and 5 recordings, in micro-batches of 4: 3, 3 and 2."""
    read = []

    class Watched(Arrays):
        def __getitem__(self, index):
            read.append(int(index))
            return super().__getitem__(index)

    x = np.random.default_rng(1).random((25, 4, 2)) < 0.5
    given = Loader(Watched(x, np.arange(25) % 2), batch=10, steps=4)
    read.clear()
    found = [
        (share.leaves, [(pair[0].shape[1], pair[1].tolist()) for pair in share.pairs])
        for share, _ in Shares(given, 4, lambda leaves: range(1, 2)).batches_from(1)
    ]
    assert found == [(3, [(4, [0, 1, 0, 1])]), (2, [(1, [0])])]
    assert sorted(read) == [14, 15, 16, 17, 24]
    assert given.epoch == 1


def test_shares_of_batches_of_ones_own():
    x, trains = np.zeros((3, 5, 2), bool), np.arange(30).reshape(3, 5, 2)
    for target, wanted in (
        ([0, 1, 2, 3, 4], [2, 3]),
        (cs.Tensor(np.arange(5)), [2.0, 3.0]),
        (np.eye(5)[:, :2], [[0.0, 0.0], [0.0, 0.0]]),
        (trains, trains[:, 2:4].tolist()),
    ):
        [(share, _)] = Shares([(x, target)], 2, lambda leaves: range(1, 2))
        [(part, got)] = share.pairs
        assert part.shape == (3, 2, 2)
        assert got.tolist() == wanted
    with pytest.raises(TypeError, match="not known"):
        len(Shares(iter([]), 2, range))
    [(share, _)] = Shares([(np.zeros((3, 0, 2), bool), np.zeros(0, int))], 2, range)
    assert share.leaves == 1


@pytest.mark.parametrize("kind", ["list", "iterator"])
def test_batches_that_are_no_loader(kind):
    def work(context):
        mine, batches = trainer(MLP, context), list(loader())
        score = mine.train(iter(batches) if kind == "iterator" else batches, steps=2)
        return tuple(score), mine.calibration is not None, mine.net.parameters()[0].data.tobytes()

    alone = work(Context())
    assert alone[1]
    assert together(2, work) == [alone] * 2


def test_what_is_not_finite_in_one_process_is_raised_by_all():
    """The loss of the recordings of class 2 is infinite: they are in a part of process 1.

    The first batch has no spikes in that part, which is no reason for a warning.
    """

    def work(context):
        warnings.simplefilter("error")
        mine = trainer(MLP, context)
        usual = mine.loss
        mine.loss = lambda spikes, labels: usual(spikes, labels) * (np.inf if (labels == 2).any() else 1.0)
        x = np.random.default_rng(1).random((16, 8, 6, 6, 2)) < 0.3
        first, messages = x.copy(), []
        first[:, 4:] = False
        for method in (mine.train, mine.test):
            with pytest.raises(NotFiniteError) as problem:
                method([(first, np.array([0, 1] * 4)), (x, np.array([0, 1, 1, 0, 0, 1, 2, 1]))])
            messages.append((str(problem.value), problem.value.epoch, problem.value.batch))
        return messages

    first, second = together(2, work)
    assert first == second
    assert re.match(r"train: epoch 1, batch 2: the loss is not finite \(inf\); check the targets", first[0][0])
    assert first[0][1:] == (1, 2)
    assert first[1][0].startswith("test: epoch 1, batch 2: the loss is not finite")


def test_all_stop_when_one_is_to():
    def work(context):
        mine, seen = trainer(MLP, context), []
        stop = agreed(lambda: context.rank == 1 and len(seen) == 1, mine.parallel)
        mine.callbacks = [AfterStep(lambda score: seen.append(stop()))]
        mine.train(loader())
        return seen

    assert together(3, work) == [[False, True, False]] * 3


def test_weights_that_differ():
    def work(context):
        net = MLP()
        net.parameters()[0].data[0, 0] = context.rank
        parallel = DataParallel(context)
        with pytest.raises(ValueError, match="all processes must have the same weights"):
            ParallelStep(parallel, RunningStatistics(net)).start(net, 1)
        ParallelStep(parallel, RunningStatistics(net)).start(net, 0)
        return float(net.parameters()[0].data[0, 0])

    assert together(2, work) == [0.0, 0.0]


def test_options_of_a_trainer():
    net = MLP()
    given = net, cs.SpikeCountLoss(cs.SRM()), cs.SGD(net.parameters(), lr=0.1)
    with pytest.raises(TypeError, match="Trainer: parallel must be a DataParallel or None, got Context"):
        Trainer(*given, parallel=Context())
    with fake_cupy.in_use(), pytest.raises(ValueError, match="Trainer: graph must not be True with parallel"):
        Trainer(*given, parallel=DataParallel(Context()), graph=True)
    with pytest.raises(TypeError, match="batches must be pairs"):
        Trainer(*given, parallel=DataParallel(Context())).train(np.zeros((2, 2)))


class Group:
    """Stands for a communicator of cupyx.distributed, between processes that have queues."""

    def __init__(self, context):
        self._context = context

    def send(self, array, peer, stream=None):
        self._context._put(peer, "nccl", backend.to_numpy(array))

    def recv(self, out_array, peer, stream=None):
        out_array[...] = backend.to_device(self._context._get(peer, "nccl"))

    def all_reduce(self, in_array, out_array, op="sum", stream=None):
        total = backend.to_numpy(in_array)
        assert isinstance(self._context.begin_sum(total), Request)
        out_array[...] = backend.to_device(total)


@pytest.mark.parametrize("fast", [False, True])
def test_cards_exchange_by_nccl(ascending, fast):
    """Arrays of different cards meet on the device; the same card twice goes through the host."""
    calls = SimpleNamespace(groupStart=lambda: None, groupEnd=lambda: None)

    def work(context):
        with fake_cupy.in_use(), pytest.MonkeyPatch.context() as patch:
            patch.setattr(backend, "card", lambda: f"card {context.rank}")
            patch.setattr(backend, "process_group", lambda size, rank: (Group(context), calls))
            found = trained(MLP, context, epochs=1, data=(4, 4, 8), fast=fast)
            kind = type(sums.transport_of(context)).__name__
            patch.setattr(backend, "card", lambda: "card 0")
            return found, kind, type(sums.transport_of(context)).__name__

    with fake_cupy.in_use():
        alone = trained(MLP, epochs=1, data=(4, 4, 8))
    for found, *kinds in together(2, work):
        assert kinds == ["NCCLTransport", "Transport"]
        assert found == alone or fast


def test_each_process_has_a_card():
    with fake_cupy.in_use():
        found = []
        for place in range(3):
            backend.use_card(place)
            found.append(backend.cupy().cuda.Device().id)
        backend.use_card(0)
        assert backend.card() is None
    assert found == [0, 1, 0]
    backend.use_card(1)


def run_of(config, context, log=silent, **options):
    try:
        train(config, context=context, log=log, **options)
    except Stopped as stopped:
        return stopped.epoch, stopped.batches
    return None


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 3), (4, 1)])
def test_a_run_that_is_stopped_and_resumed_by_another_number_of_processes(tmp_path, monkeypatch, before, after):
    """With normalization, whose running statistics go on, and dropout, whose random numbers do; with validation too."""
    no_figures(monkeypatch)
    validation, batches = (0.5, 1) if before == 4 else (None, 2)
    layers = "6x6x2", Word("4", norm="std", dropout=0.2), "2"
    config = tiny(tmp_path, checkpoint_steps=None, micro=1, layers=layers, validation=validation, epochs=3)
    whole = train(config.with_options(out=str(tmp_path / "whole")), log=silent)
    config = config.with_options(out=str(tmp_path / "out"))

    def first(context):
        asked = []
        return run_of(config, context, stop=lambda: len(asked) == 1 or asked.append(1) is not None)

    assert together(before, first) == [(0, batches)] * before
    assert together(after, lambda context: run_of(config, context, resume=True)) == [None] * after
    assert results(tmp_path / "out") == results(whole)


def test_processes_without_work_are_named(tmp_path, monkeypatch):
    no_figures(monkeypatch)
    config, lines = tiny(tmp_path, out=str(tmp_path / "out"), epochs=1), []

    def work(context):
        run_of(config, context, log=lines.append)
        return lines

    first, *others = together(3, work)
    assert others == [[], []]
    assert first[0].endswith("each of 3 processes; results go to " + str(tmp_path / "out"))
    assert first[1] == "one process"  # what stands for MPI does not say more
    assert first[2].startswith(
        "warning: a batch of 2 recordings has 2 micro-batches of 1: 1 of 3 processes has nothing to do"
    )
    assert load_config(tmp_path / "out" / "config.yaml").micro == 1


def test_processes_that_differ_are_refused(tmp_path, monkeypatch):
    no_figures(monkeypatch)
    config = tiny(tmp_path, out=str(tmp_path / "out"))
    other = tiny(tmp_path / "..", data=str(tmp_path / "data"), out=str(tmp_path / "out"), epochs=3)
    (tmp_path / "other").mkdir()
    moved = tiny(tmp_path / "other", out=str(tmp_path / "out"))
    (tmp_path / "other" / "data" / "train.txt").write_text("0 1\n1 0\n2 0\n3 1\n")

    def work(context, second):
        with pytest.raises(ValueError) as problem:
            run_of(second if context.rank else config, context)
        return str(problem.value)

    same = "train: all processes must have the same "
    for second, message in (
        (other, f"{same}configuration: training.epochs is 2 in process 0, 3 in process 1"),
        (moved, f"{same}training data: process 0 has '4 recordings, digest"),
    ):
        found = together(2, lambda context, second=second: work(context, second))
        assert found[0] == found[1]
        assert found[0].startswith(message)
    assert not (tmp_path / "out").exists()


def test_one_process_writes(tmp_path, monkeypatch):
    """The folder of the others is not even there."""
    no_figures(monkeypatch)
    config = tiny(tmp_path, micro=1)

    def work(context):
        if context.rank:
            monkeypatch.setattr(Context, "from_root", lambda self, work: _elsewhere(self.broadcast(None)))
        return run_of(config.with_options(out=str(tmp_path / "out")), context)

    def _elsewhere(found):
        sent, _ = found
        return tmp_path / "elsewhere" if sent == tmp_path / "out" else sent

    assert together(2, work) == [None, None]
    assert (tmp_path / "out" / "checkpoint.npz").exists()
    assert not (tmp_path / "elsewhere").exists()


def test_random_numbers_of_micro_batches():
    """Micro-batches of equal recordings drop different neurons, and the same ones for the same seed."""
    drawn = []

    class Watched(cs.Dropout):
        def __call__(self, x):
            found = super().__call__(x)
            if self.training:
                drawn.append((found.data != 0).any(axis=0).tobytes())
            return found

    srm = cs.SRM(theta=3.0)
    mine = trainer(lambda: cs.Sequential(Watched(0.5), cs.Dense((6, 6, 2), 3), srm))
    batch = np.ones((16, 8, 6, 6, 2), bool), np.zeros(8, int)
    mine.train([batch])
    first = drawn[-4:]
    assert len(set(first)) == 4
    mine = trainer(lambda: cs.Sequential(Watched(0.5), cs.Dense((6, 6, 2), 3), srm))
    mine.train([batch, batch])
    assert drawn[-8:-4] == first
    assert drawn[-4:] != first


def test_a_parameter_without_a_gradient():
    """One that no micro-batch uses has a gradient of zeros; a frozen one has none."""
    srm = cs.SRM(theta=3.0)
    net = cs.Sequential(cs.Dense((6, 6, 2), 3), srm)
    unused, frozen = cs.Tensor(np.ones(2), requires_grad=True), cs.Tensor(np.ones(2))
    optimizer = cs.SGD([*net.parameters(), unused, frozen], lr=0.1)
    parallel = DataParallel(Context(), micro=2)
    Trainer(net, cs.SpikeCountLoss(srm, true=6, false=1), optimizer, parallel=parallel).train(loader(), steps=1)
    assert unused.grad.tolist() == [0.0, 0.0]
    assert frozen.grad is None


def test_the_last_layers_are_sent_while_the_first_are_computed(monkeypatch):
    """By buckets that are full: in each step the second layer's gradient leaves before the first one's is complete."""

    def work(context):
        mine, log = trainer(MLP, context), []
        first, second = mine.net.parameters()
        send = sums.OrderedSum.send

        def noted(self):
            log.append("second" if self._bucket.parameters[0] is second else "first")
            log.append(first.grad is None)
            send(self)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sums.OrderedSum, "send", noted)
            mine.train(list(loader())[:1])
        return log

    # The gradient of the first layer is not there yet, then it is taken to be sent.
    assert together(2, work) == [["second", True, "first", True]] * 2


@pytest.mark.parametrize("name", networks())
def test_on_the_cpu(name):
    """21 steps of batches of 10, 10 and 5 recordings in micro-batches of 2: 8 processes have fewer than one each.

    test_mpi.py has 2 and 4 processes.
    """
    make = networks()[name]
    alone = trained(make)
    for size in (3, 8):
        assert all(found == alone for found in together(size, lambda context: trained(make, context))), size


@pytest.mark.parametrize("name", networks())
def test_on_emulated_cuda(name):
    """20 steps of a batch of 4, by arrays that go through the host; other tests vary the order of threads."""
    make = networks()[name]
    alone = emulated(make)
    assert together(2, lambda context: emulated(make, context)) == [alone] * 2
    scores = alone["scores"]
    assert scores[0] != scores[-2]
