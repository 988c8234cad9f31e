"""Conversion on a device: the spikes and units of the CPU."""

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import backend
from tests.interchange.test_conversion import example, quantized
from tools.fake_cupy import in_use


@pytest.mark.parametrize(("name", "method"), [("branches", "squares"), ("chain", "qcfs")])
def test_a_converted_network(name, method):
    def run():
        activation = quantized if method == "qcfs" else lambda levels: cs.ReLU()
        net, x = example(name, activation, samples=2)
        for p in (*net.parameters(), *(layer.limit for layer in net.layers_within() if hasattr(layer, "limit"))):
            p.data = backend.to_device(backend.to_numpy(p.data))
        options = {"steps": 8} if method == "squares" else {}
        conversion = cs.convert(net, backend.to_device(x[None]), method=method, recordings=2, **options)
        counts = [spikes for *_, spikes in conversion._counts(x)]
        return [*counts, backend.to_numpy(conversion.net(backend.to_device(conversion.encode(x))).data)]

    here = run()
    with in_use():
        there = run()
    assert sum(counts.sum() for counts in here[:-1]) > 100
    for ours, theirs in zip(here[:-1], there[:-1], strict=True):
        # Rounding may move a count that lies between two.
        assert (ours != theirs).mean() < (0.01 if method == "squares" else 1e-9)
    np.testing.assert_allclose(here[-1].sum(axis=0), there[-1].sum(axis=0), atol=2e-2 * abs(here[-1]).max())
