"""Input that is not finite is refused by each inspection, also past the first sample."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs

NET = cs.Network("3-2", cs.SRM())
RUNS = {
    "report": lambda x, path: cs.report(NET, x, path / "page.html"),
    "explain": lambda x, path: cs.explain(NET, x, 1, 0, 3),
    "compare_gradients": lambda x, path: cs.compare_gradients(NET, x, [0, 1], perturbations=1),
    "reassignment": lambda x, path: cs.reassignment(NET, x, [0, 1], layer=1, neuron=0),
    "health": lambda x, path: cs.health(NET, [(x, [0, 1])]),
    "calibrate": lambda x, path: cs.calibrate(NET, [x]),
}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("op", RUNS)
def test_it_is_refused(op, value, tmp_path):
    x, before = np.ones((10, 2, 3), np.float32), NET.state()
    x[4, 1, 2] = value
    name = "report: samples" if op == "report" else f"{op}: x"
    with pytest.raises(ValueError, match=f"^(network: x|{name}) must be finite, got {value} in it$"):
        RUNS[op](x, tmp_path)
    assert not list(tmp_path.iterdir())
    assert all((array == before[key]).all() for key, array in NET.state().items())
