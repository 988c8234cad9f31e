"""The read-out: a dense layer with a leaky integrator, or with a neuron's spike response, for each output."""

from __future__ import annotations

import re

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.functions import leaky_integral
from cuslayer.interchange import export_hdf5
from cuslayer.layers import Affine
from cuslayer.network.walk import ends_in_read_out

RNG = np.random.default_rng(3)


def by_steps(x: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Return the leaky integral step by step."""
    y, now = np.empty_like(x), np.zeros(x.shape[1:])
    for t in range(len(x)):
        now = keep * now + x[t]
        y[t] = now
    return y


@pytest.mark.parametrize("shape", [(7, 2, 3), (1, 1, 1), (0, 2, 3), (5, 0, 3), (5, 2, 0), (9, 1, 2, 2, 3)])
@pytest.mark.parametrize("keep", [0.0, 0.6, 1.0])
def test_the_integral_of_its_formula(shape: tuple[int, ...], keep: float) -> None:
    x = RNG.standard_normal(shape)
    np.testing.assert_allclose(leaky_integral(x, np.array(keep)).data, by_steps(x, np.array(keep)), atol=1e-14)


def test_gradients_of_the_integral() -> None:
    x = RNG.standard_normal((8, 2, 3))
    assert cs.gradcheck(leaky_integral, x, np.array(0.7)) < 1e-6
    assert cs.gradcheck(leaky_integral, x, np.array([0.0, 0.5, 1.0])) < 1e-6
    assert cs.gradcheck(leaky_integral, RNG.standard_normal((4, 1, 2, 2, 3)), RNG.random((2, 2, 3))) < 1e-6


def test_the_adjoint_of_the_integral() -> None:
    x, g, keep = RNG.standard_normal((40, 3, 5)), RNG.standard_normal((40, 3, 5)), RNG.random(5)
    given = cs.Tensor(x, requires_grad=True)
    y = leaky_integral(given, keep)
    y.backward(g)
    assert np.vdot(y.data, g) == pytest.approx(np.vdot(x, given.grad))


def test_errors_of_the_integral() -> None:
    with pytest.raises(ValueError, match=r"^leaky_integral: keep must broadcast to the neurons \(3,\), got shape \(2,"):
        leaky_integral(np.zeros((4, 1, 3)), np.zeros(2))
    with pytest.raises(TypeError, match=r"^leaky_integral: x must be the weighted input of a layer"):
        leaky_integral(np.zeros((4, 1, 3), bool), np.zeros(1))


@pytest.mark.parametrize("dt", [1.0, 0.5])
def test_a_read_out_of_its_formula(dt: float) -> None:
    layer = Affine((2, 2, 1), 3, tau=[1.0, 5.0, 9.0], dt=dt, bias=True)
    layer.bias.data[:] = [0.5, 0.0, -1.0]
    x = RNG.random((20, 2, 2, 2, 1)) < 0.4
    weighted = x.reshape(20, 2, 4) @ layer.weight.data.astype(float) + layer.bias.data
    expected = by_steps(weighted, np.exp(-dt / np.array([1.0, 5.0, 9.0])))
    np.testing.assert_allclose(layer(x).data, expected, atol=1e-5)
    assert layer.output_shape((2, 2, 1)) == layer.output_shape(None) == (3,)


def test_a_read_out_of_a_neurons_response() -> None:
    srm = cs.SRM(dt=0.5)
    layer = Affine(4, 2, neuron=srm)
    x = RNG.random((30, 2, 4)) < 0.4
    np.testing.assert_array_equal(layer(x).data, srm.psp(cs.functions.dense(x, layer.weight)).data)
    assert layer.dt == 0.5
    assert layer.tau is None
    assert repr(layer) == "Affine(4, 2, neuron=SRM)"


def test_gradients_of_weight_bias_and_time_constant() -> None:
    layer = Affine(4, 2, tau=[2.0, 3.0], trained=True, bias=True)
    x = RNG.standard_normal((6, 2, 4))

    def run(weight: cs.Tensor, bias: cs.Tensor, tau: cs.Tensor) -> cs.Tensor:
        layer.weight, layer.bias, layer.tau = weight, bias, tau
        return layer(x)

    assert cs.gradcheck(run, RNG.standard_normal((4, 2)), np.array([0.5, -1.0]), np.array([2.0, 3.0])) < 1e-6


def test_parameters_are_the_trained_ones() -> None:
    names = list(Affine(4, 2, trained=True, bias=True).named_parameters())
    assert names == ["weight", "tau", "bias"]
    assert list(Affine(4, 2).named_parameters()) == ["weight"]
    layer = Affine(4, 2, tau=3.0, trained=True, bounds=(2.0, 5.0))
    assert (layer.tau.least, layer.tau.most) == (2.0, 5.0)
    assert repr(layer) == "Affine(4, 2, tau=3)"
    assert repr(Affine((2, 2, 1), 2, tau=[1, 2])).endswith("tau=array (2,))")


def test_scaling_the_output_scales_the_bias() -> None:
    layer = Affine(4, 2, bias=True)
    layer.bias.data[:] = 1.0
    x = RNG.random((5, 1, 4)) < 0.5
    before = layer(x).data
    layer.scale_output(4.0)
    np.testing.assert_array_equal(layer(x).data, 4 * before)


def network() -> cs.Sequential:
    return cs.Sequential(
        cs.Dense(6, 8, bias=True), cs.LIF(), Affine(8, 3, tau=[2.0, 5.0, 8.0], trained=True, bias=True)
    )


def test_a_stream_has_the_bits_of_the_whole() -> None:
    net, x = network(), RNG.random((40, 2, 6)) < 0.3
    stream = net.stream()
    found = np.concatenate([stream(x[:7]), stream(x[7:8]), stream(x[8:])])
    np.testing.assert_array_equal(found, net(x).data)


def test_a_stream_of_a_neurons_response_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^stream: layer 0 Affine\(4, 2, neuron=SRM\) keeps no state"):
        cs.Sequential(Affine(4, 2, neuron=cs.SRM())).stream()


def test_a_long_input_in_chunks_has_the_bits_of_the_whole() -> None:
    net, x = cs.Sequential(cs.Dense(64, 512), cs.LIF(), Affine(512, 3)), RNG.random((8192, 4, 64)) < 0.02
    with cs.no_grad():
        np.testing.assert_array_equal(net(x).data, net[2](net[1](net[0](x))).data)


def test_a_saved_read_out_is_the_same(tmp_path) -> None:
    net, x = network(), RNG.random((20, 1, 6)) < 0.3
    net[2].bias.data[:] = [1.0, 2.0, 3.0]
    net[2].tau.data[:] = [3.0, 4.0, 5.0]
    cs.save(net, tmp_path / "net.npz")
    again = cs.load(tmp_path / "net.npz")
    np.testing.assert_array_equal(again(x).data, net(x).data)
    assert repr(again) == repr(net)
    assert [p.requires_grad for p in again.parameters()] == [True] * 5
    other = network()
    other.load_state(net.state())
    np.testing.assert_array_equal(other(x).data, net(x).data)


def test_inspection_knows_a_read_out() -> None:
    net = cs.Sequential(cs.Dense(6, 8), cs.SRM(), Affine(8, 3))
    x, labels = RNG.random((30, 4, 6)) < 0.3, [0, 1, 2, 0]
    assert ends_in_read_out(net)
    assert not ends_in_read_out(net[:2])
    assert not ends_in_read_out(cs.Sequential())
    with cs.record(net) as seen:
        out = net(x)
        cs.CrossEntropyLoss()(out, labels).backward()
    np.testing.assert_array_equal(seen[2].output.values, out.data)
    assert np.abs(seen[2].output_error.values).sum() > 0
    found = cs.health(net, [(x, labels)])
    assert found.loss == pytest.approx(cs.CrossEntropyLoss()(net(x), labels).item() / 4)
    assert "Affine(8, 3, tau=20)" in repr(cs.compare_gradients(net, x, labels))
    assert "Affine(8, 3, tau=20)" in net._repr_html_()
    with pytest.raises(TypeError, match=r"^explain: layer 2 \(Affine\(8, 3, tau=20\)\) has no neurons$"):
        cs.explain(net, x, 2, 0, 5)
    assert "layer 1" in repr(cs.explain(net, x, 1, 0, 5))


def test_a_report_of_a_read_out(tmp_path) -> None:
    net = cs.Sequential(cs.Dense(6, 8), cs.SRM(), Affine(8, 3))
    cs.report(net, RNG.random((30, 1, 6)) < 0.3, tmp_path / "a.html", target=[1])
    assert (tmp_path / "a.html").stat().st_size > 1000


def test_files_that_have_no_read_out(tmp_path) -> None:
    net = cs.Sequential(cs.Dense(6, 8), cs.Loihi(), Affine(8, 3))
    with pytest.raises(ValueError, match=r"^export_hdf5: layer 2, Affine\(8, 3, tau=20\), has no place in the file"):
        export_hdf5(net, tmp_path / "a.net")
    with pytest.raises(ValueError, match=r"^export_hdf5: layer 0, Dense\(6, 8, bias=True\), has a bias"):
        export_hdf5(cs.Sequential(cs.Dense(6, 8, bias=True), cs.Loihi()), tmp_path / "a.net")


def test_the_word_of_a_read_out() -> None:
    net = cs.Network("6-8-3out", cs.SRM(dt=0.5))
    assert repr(net[2]) == "Affine(8, 3, tau=20)"
    assert net[2].dt == 0.5
    assert len(net) == 3
    words = [cs.Word("6"), cs.Word("8", bias=True), cs.Word("3out", tau=7.0, bias=True, weight_scale=2.0)]
    net = cs.Network(words, cs.SRM())
    assert [repr(net[0]), repr(net[2])] == ["Dense(6, 8, bias=True)", "Affine(8, 3, tau=7, bias=True)"]
    assert net[2].own_scale
    assert cs.Network("8x8x2-2c3-3out", cs.SRM())[2].in_features == (8, 8, 2)
    assert repr(cs.Network([cs.Word("8x8x2"), cs.Word("2c3", bias=True)], cs.SRM())[0]).endswith("bias=True)")
    with pytest.raises(
        ValueError, match=r"^Network: '4' in '6-3out-4' stands after a read-out, which must be the last"
    ):
        cs.Network("6-3out-4", cs.SRM())
    with pytest.raises(ValueError, match=r"^Word: '3out' is a readout word, which takes no delay, got True"):
        cs.Word("3out", delay=True)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"tau": 0}, ValueError, "tau must be positive and finite, got 0"),
        ({"tau": "fast"}, TypeError, "tau must be a number or an array of numbers, got <U4"),
        ({"tau": [1.0, 2.0, 3.0]}, ValueError, r"tau must be a number or (2,), got shape (3,)"),
        ({"tau": 2.0, "neuron": cs.SRM()}, ValueError, "tau must not be given or trained with a neuron"),
        ({"trained": True, "neuron": cs.SRM()}, ValueError, "tau must not be given or trained with a neuron"),
        ({"dt": 2.0, "neuron": cs.SRM()}, ValueError, "dt must be the neuron's, 1, got 2"),
        ({"neuron": 3}, TypeError, "neuron must be a neuron, got int"),
        ({"trained": 1}, TypeError, "trained must be a bool, got int"),
        ({"trained": True, "bounds": 3}, TypeError, "bounds must be least and most, got 3"),
        ({"dt": 0}, ValueError, "dt must be positive"),
        ({"bias": 1}, TypeError, "bias must be a bool or a Tensor, got int"),
        ({"bias": cs.Tensor([1.0])}, ValueError, "bias must be (2,), got shape (1,)"),
        ({"weight_scale": 0}, ValueError, "weight_scale must be positive"),
        ({"weight_hook": 3}, TypeError, "weight_hook must be callable"),
    ],
)
def test_errors_of_a_read_out(options: dict, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=rf"^Affine: {re.escape(message)}"):
        Affine(4, 2, **options)


def test_an_input_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"^dense: x has 5 features, weight expects 4"):
        Affine(4, 2)(np.zeros((3, 1, 5), bool))
    with pytest.raises(ValueError, match=r"^dense: x has 5 features, weight expects 4"):
        Affine(4, 2).output_shape((5,))
