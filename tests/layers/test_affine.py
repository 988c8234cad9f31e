"""The read-out: a dense layer with an integrator or a response for each output; layers with a bias."""

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.functions import leaky_integral
from cuslayer.interchange import export_hdf5
from cuslayer.layers import ReadOut
from cuslayer.network import Word
from cuslayer.network.walk import ends_in_read_out
from tests.support.refused import refuses

pytestmark = pytest.mark.all

RNG = np.random.default_rng(3)


def by_steps(x, keep):
    """Return the leaky integral step by step."""
    y, now = np.empty_like(x), np.zeros(x.shape[1:])
    for t in range(len(x)):
        now = keep * now + x[t]
        y[t] = now
    return y


@pytest.mark.parametrize("shape", [(7, 2, 3), (1, 1, 1), (0, 2, 3), (5, 0, 3), (5, 2, 0), (9, 1, 2, 2, 3)])
@pytest.mark.parametrize("keep", [0.0, 0.6, 1.0])
def test_the_integral_of_its_formula(shape, keep):
    x = RNG.standard_normal(shape)
    np.testing.assert_allclose(leaky_integral(x, np.array(keep)).data, by_steps(x, np.array(keep)), atol=1e-14)


@pytest.mark.parametrize("dt", [1.0, 0.5])
@pytest.mark.parametrize("tau", [[1.0, 5.0, 9.0], [5.0], 9.0])
def test_a_read_out_of_its_formula(dt, tau):
    layer = ReadOut((2, 2, 1), 3, tau=tau, dt=dt, bias=True)
    layer.bias.data[:] = [0.5, 0.0, -1.0]
    x = RNG.random((20, 2, 2, 2, 1)) < 0.4
    weighted = x.reshape(20, 2, 4) @ layer.weight.data.astype(float) + layer.bias.data
    expected = by_steps(weighted, np.exp(-dt / np.array(tau)))
    np.testing.assert_allclose(layer(x).data, expected, atol=1e-5)
    assert layer.output_shape((2, 2, 1)) == layer.output_shape(None) == (3,)


def test_a_read_out_of_a_neurons_response():
    srm = cs.SRM(dt=0.5)
    layer = ReadOut(4, 2, neuron=srm)
    x = RNG.random((30, 2, 4)) < 0.4
    np.testing.assert_array_equal(layer(x).data, srm.psp(cs.functions.dense(x, layer.weight)).data)
    assert layer.dt == 0.5
    assert layer.tau is None
    assert repr(layer) == "ReadOut(4, 2, neuron=SRM)"


def test_gradients_of_weight_bias_and_time_constant():
    layer = ReadOut(4, 2, tau=[2.0, 3.0], trained=True, bias=True)
    x = RNG.standard_normal((6, 2, 4))

    def run(weight, bias, tau):
        layer.weight, layer.bias, layer.tau = weight, bias, tau
        return layer(x)

    assert cs.gradcheck(run, RNG.standard_normal((4, 2)), np.array([0.5, -1.0]), np.array([2.0, 3.0])) < 1e-6


def test_parameters_are_the_trained_ones():
    names = list(ReadOut(4, 2, trained=True, bias=True).named_parameters())
    assert names == ["weight", "tau", "bias"]
    assert list(ReadOut(4, 2).named_parameters()) == ["weight"]
    layer = ReadOut(4, 2, tau=3.0, trained=True, bounds=(2.0, 5.0))
    assert (layer.tau.least, layer.tau.most) == (2.0, 5.0)
    layer = ReadOut(4, 2, tau=3.0, trained=True, dt=0.5)
    assert (layer.tau.least, layer.tau.most) == (0.125, 5000.0)
    assert layer.simulation.keeps["keep"].item() == pytest.approx(np.exp(-0.5 / 3.0))
    layer = ReadOut(4, 2, tau=3.0)
    assert repr(layer) == "ReadOut(4, 2, tau=3)"
    assert repr(ReadOut((2, 2, 1), 2, tau=[1, 2])).endswith("tau=array (2,))")
    layer = ReadOut(4, 2, bias=True)
    layer.bias.data[:] = 1.0
    x = RNG.random((5, 1, 4)) < 0.5
    before = layer(x).data
    layer.scale_output(4.0)
    np.testing.assert_array_equal(layer(x).data, 4 * before)


def test_inspection_knows_a_read_out():
    net = cs.Sequential(cs.Dense(6, 8), cs.SRM(), ReadOut(8, 3))
    x, labels = RNG.random((30, 4, 6)) < 0.3, [0, 1, 2, 0]
    assert ends_in_read_out(net)
    assert not ends_in_read_out(net[:2])
    assert not ends_in_read_out(cs.Sequential())
    with cs.record(net) as seen:
        out = net(x)
        cs.CrossEntropyLoss()(out, labels).backward()
    np.testing.assert_array_equal(seen[2].output.values, out.data)
    assert np.abs(seen[2].output_error.values).sum() > 0
    found = cs.diagnose(net, [(x, labels)])
    assert found.loss == pytest.approx(cs.CrossEntropyLoss()(net(x), labels).item() / 4)
    assert "ReadOut(8, 3, tau=20)" in repr(cs.inspection.compare_gradients(net, x, labels))
    assert "ReadOut(8, 3, tau=20)" in net._repr_html_()
    with refuses("explain: layer 2 (ReadOut(8, 3, tau=20)) has no neurons"):
        cs.explain(net, x, 2, 0, 5)
    assert "layer 1" in repr(cs.explain(net, x, 1, 0, 5))


def test_files_that_have_no_read_out(tmp_path):
    net = cs.Sequential(cs.Dense(6, 8), cs.Loihi(), ReadOut(8, 3))
    with refuses("export_hdf5: layer 2, ReadOut(8, 3, tau=20), has no place in the file"):
        export_hdf5(net, tmp_path / "a.net")
    with refuses("export_hdf5: layer 0, Dense(6, 8, bias=True), has a bias, for which the file has no place"):
        export_hdf5(cs.Sequential(cs.Dense(6, 8, bias=True), cs.Loihi()), tmp_path / "a.net")


def test_the_word_of_a_read_out():
    net = cs.Network("6-8-3out", cs.SRM(dt=0.5))
    assert repr(net[2]) == "ReadOut(8, 3, tau=20)"
    assert net[2].dt == 0.5
    assert len(net) == 3
    words = [Word("6"), Word("8", bias=True), Word("3out", tau=7.0, bias=True, weight_scale=2.0)]
    net = cs.Network(words, cs.SRM())
    assert [repr(net[0]), repr(net[2])] == ["Dense(6, 8, bias=True)", "ReadOut(8, 3, tau=7, bias=True)"]
    assert net[2].own_scale
    assert cs.Network("8x8x2-2c3-3out", cs.SRM())[2].in_features == (8, 8, 2)
    assert repr(cs.Network([Word("8x8x2"), Word("2c3", bias=True)], cs.SRM())[0]).endswith("bias=True)")
    with refuses("Network: '4' in '6-3out-4' stands after a read-out, which must be the last word"):
        cs.Network("6-3out-4", cs.SRM())
    with refuses("Word: '3out' is a readout word, which takes no delay"):
        Word("3out", delay=True)


def biased(gradient="slayer"):
    srm = cs.SRM(gradient=gradient)
    conv, pool = cs.Conv(2, 3, 3, padding=1, bias=True), cs.SumPool(2, gain=11.0)
    net = cs.Sequential(conv, srm, pool, srm, cs.Dense((3, 3, 3), 4, bias=True), srm)
    conv.bias.data[:] = [2.0, -1.0, 0.5]
    net[4].bias.data[:] = [3.0, 0.0, -3.0, 1.0]
    return net


def test_a_bias_of_its_formula():
    x = RNG.random((10, 2, 6, 6, 2)) < 0.2
    conv = biased()[0]
    np.testing.assert_array_equal(conv(x).data, cs.functions.conv(x, conv.weight, padding=1).data + conv.bias.data)
    assert list(biased().state()) == ["0.weight", "0.bias", "4.weight", "4.bias", "2.gain"]
    dense = cs.Dense(4, 3, bias=True)
    assert dense.bias.data.tolist() == [0.0, 0.0, 0.0]
    assert cs.Dense(4, 3).bias is None
    assert cs.Dense(4, 3, bias=dense.bias).bias is dense.bias


def test_gradients_of_biases():
    layers = (cs.Dense(4, 3, bias=True), cs.Conv(2, 3, 2, bias=True))
    shapes = ((5, 2, 4), (4, 3)), ((3, 2, 4, 4, 2), (2, 2, 2, 3))
    for layer, (of_x, of_weight) in zip(layers, shapes, strict=True):

        def run(x, weight, bias, layer=layer):
            layer.weight, layer.bias = weight, bias
            found = layer(x)
            return found

        arrays = (RNG.standard_normal(shape) for shape in (of_x, of_weight, (3,)))
        assert cs.gradcheck(run, *arrays) < 1e-6
