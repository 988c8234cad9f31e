"""A training step on a device reads nothing back; the score of an epoch is the CPU's."""

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import backend
from cuslayer.data import Arrays, Loader
from cuslayer.training import Score, Tally, Trainer
from tests.device.test_operations import device as device
from tests.device.test_operations import module
from tools.fake_cupy import counted

SRM = cs.SRM(tau_sr=4.0)
ON_STAND_IN = pytest.mark.parametrize("device", ["stand-in"], indirect=True)


def batches(count=6, target="labels"):
    rng = np.random.default_rng(5)
    found = []
    for _ in range(count):
        labels = rng.integers(3, size=4)
        trains = rng.random((20, 4, 3)) < 0.2
        targets = {"labels": labels, "one-hot": np.eye(3, dtype=int)[labels], "trains": trains}
        found.append((rng.random((20, 4, 6)) < 0.4, targets[target]))
    return found


def trainer(loss=None, scale=30.0):
    cs.seed(1)
    net = cs.Sequential(cs.Dense(6, 3, weight_scale=scale), SRM)
    loss = loss or cs.SpikeCountLoss(SRM, true=6, false=1, window=(5, 20))
    return Trainer(net, loss, cs.Adam(net.parameters(), 0.01), calibrate=None, loss_scale=0.5)


def steps_of(found):
    """Yield batches on the device; note the transfers down and up of each step but the first, which makes tables."""
    for number, (x, labels) in enumerate(batches()):
        batch = cs.Tensor(x), backend.to_device(labels)
        with counted() as costs:
            yield batch
        if number:
            found.append((costs.readbacks, costs.uploads))


@ON_STAND_IN
def test_a_step_reads_nothing(device):
    found = []
    assert trainer().train(steps_of(found)).accuracy is not None
    # Spikes and labels are there. Every fourth step is added to the gradient flow.
    assert found == [(0, 0)] * 5


@ON_STAND_IN
@pytest.mark.parametrize("form", ["array", "list", "one-hot", "tensor", "device"])
def test_labels_are_sent_once_for_loss_and_score(form, device):
    forms = {"list": np.ndarray.tolist, "tensor": lambda y: cs.Tensor(y.astype(float)), "device": backend.to_device}
    found = []

    def given():
        for x, labels in batches(3, "one-hot" if form == "one-hot" else "labels"):
            batch = cs.Tensor(x), forms.get(form, np.asarray)(labels)
            with counted() as costs:
                yield batch
            found.append((costs.uploads, costs.bytes_up))

    t = trainer()
    t.graph = False
    scores = t.train(given()), t.test(given())
    # The first step sends tables of the optimizer.
    assert found[1:] == [(0, 0) if form == "device" else (1, 8 * 4)] * 5
    again = trainer()
    again.graph = False
    assert scores == (again.train(batches(3)), again.test(batches(3)))


@pytest.mark.parametrize("target", ["labels", "one-hot", "trains"])
def test_the_score_of_an_epoch_is_that_of_the_cpu(target):
    found = []
    for where in ("cuda", "cpu"):
        cs.use(where)
        t = trainer(cs.SpikeTimeLoss(SRM) if target == "trains" else None)
        scores = [t.train(batches(3, target)), t.test(batches(2, target))]
        found.append((scores, t.silent_batch is None, t.gradients.epochs[0]))
    (ours, fired, flow), (theirs, expected, their_flow) = found
    assert fired is expected is True
    assert [score.accuracy for score in ours] == [score.accuracy for score in theirs]
    assert [score.loss for score in ours] == pytest.approx([score.loss for score in theirs], rel=1e-5)
    assert flow == pytest.approx(their_flow, rel=1e-5)


def test_an_output_that_is_silent_all_the_epoch_is_noticed():
    t = trainer(scale=1e-6)
    given = batches(3)
    t.train(given)
    assert t.silent_batch is not None
    assert t.silent_batch[0] is given[-1][0]


def test_a_tally_of_batches_on_both_devices():
    tally, (x, labels) = Tally(), batches(1)[0]
    s = x[:, :, :3]
    right = int((s.sum(axis=0).argmax(axis=1) == labels).sum())
    for where, loss in (("cuda", cs.Tensor(3.0)), ("cpu", 5.0)):
        cs.use(where)
        tally.add(cs.Tensor(s), labels, loss)
    cs.use("cuda")
    tally.add(cs.Tensor(s.astype(np.float64)), cs.Tensor(labels), 4, scale=0.25)
    assert (tally.samples, tally.right, tally.loss, tally.spiked) == (12, 3 * right, 9.0, True)
    assert tally.score() == Score(9.0 / 12, 3 * right / 12)


def test_labels_of_the_device_that_are_no_class_give_no_number():
    s, loss = cs.Tensor(np.zeros((20, 2, 3), bool)), cs.SpikeCountLoss(SRM, true=15)
    assert np.isnan(loss(s, backend.to_device(np.array([0, 3]))).item())
    with pytest.raises(ValueError, match=r"^SpikeCountLoss: label 3 of sample 1 is none of 3 classes$"):
        loss(s, np.array([0, 3]))
    with pytest.raises(ValueError, match=r"^SpikeCountLoss: labels have shape \(3,\), spikes"):
        loss(s, backend.to_device(np.array([0, 1, 2])))
    with pytest.raises(TypeError, match=r"^SpikeCountLoss: labels must be integers, got float64"):
        loss(s, backend.to_device(np.array([0.0, 1.0])))


RNG = np.random.default_rng(53)


def test_decisions_and_distances_are_on_the_cpu():
    spikes, other = RNG.random((2, 30, 4, 5)) < 0.1
    labels = RNG.integers(5, size=4)
    x, y = (cs.Tensor(s) for s in (spikes, other))
    assert module(x.data) == "cupy"
    answers = [
        (cs.loss.running_decision(x, width=6), cs.loss.decision_time(x, backend.to_device(labels), width=6)),
        (cs.loss.van_rossum(x, y, tau=4.0), cs.loss.van_rossum(x, y, tau=4.0, total=True)),
    ]
    cs.use("cpu")
    expected = [
        (cs.loss.running_decision(spikes, width=6), cs.loss.decision_time(spikes, labels, width=6)),
        (cs.loss.van_rossum(spikes, other, tau=4.0), cs.loss.van_rossum(spikes, other, tau=4.0, total=True)),
    ]
    for ours, theirs in zip(answers, expected, strict=True):
        for mine, their in zip(ours, theirs, strict=True):
            assert isinstance(mine, np.ndarray)
            np.testing.assert_allclose(mine, their, rtol=1e-12)


def with_batch_norm(scale):
    srm = cs.SRM(tau_sr=3.0)
    norm = cs.BatchNorm(8, scale=scale, height=5.0, trained=True)
    net = cs.Sequential(cs.Dense((4, 4, 2), 8), norm, srm, cs.Dense(8, 3), srm)
    return net, cs.network.SparsityLoss(cs.SpikeCountLoss(srm, true=6, false=1), weight=1e-3)


def with_read_out(over):
    net = cs.Network(
        [cs.network.Word("4x4x2"), cs.network.Word("8"), cs.network.Word("3out", bias=True)], cs.SRM(tau_sr=3.0)
    )
    return net, cs.CrossEntropyLoss(over)


@pytest.mark.parametrize(
    ("make", "of"),
    [(with_batch_norm, "std"), (with_batch_norm, "power"), (with_read_out, "max"), (with_read_out, "every")],
)
def test_steps_of_other_layers_are_graphs(ascending, make, of):
    generator = np.random.default_rng(3)
    data = Arrays(generator.random((14, 12, 4, 4, 2)) < 0.3, generator.integers(0, 3, 14))
    found = []
    for graph in (False, True):
        cs.seed(1)
        net, loss = make(of)
        t = Trainer(net, loss, cs.Adam(net.parameters(), 0.02), graph=graph)
        loader = Loader(data, 2, steps=12, shuffle=True, seed=0)
        scores = [t.train(loader) for _ in range(2)]
        assert t.graph_problem is None
        found.append((scores, [backend.to_numpy(p.data).tobytes() for p in net.parameters()]))
    assert found[0] == found[1]
