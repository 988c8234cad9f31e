"""Emulated products of matrices against NumPy's in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cuslayer.kernels.dense import matmul as launcher
from cuslayer.kernels.dense.matmul import matmul
from tests.kernels.test_twins import close, dtypes, norm, normal, seeds
from tests.kernels.test_twins_conv import emulator as emulator
from tools.emulator.driver import Emulator

side = st.one_of(st.integers(0, 9), st.sampled_from([63, 64, 65]))


@settings(max_examples=25, deadline=None)
@given(side, st.one_of(st.integers(0, 40), st.sampled_from([256, 512, 700])), side, st.booleans(), dtypes, seeds)
@example(3, 1030, 70, True, "float32", 0)
@example(130, 17, 65, False, "float64", 0)
def test_matmul(rows: int, inner: int, columns: int, transposed: bool, dtype: str, seed: int) -> None:
    a = normal(seed, (inner, rows) if transposed else (rows, inner), dtype)
    b = normal(seed + 1, (inner, columns), dtype)
    wide = (x.astype(np.float64) for x in ((a.T if transposed else a), b))
    close(matmul(a, b, transposed), np.matmul(*wide).astype(dtype), least=norm(a) * norm(b))


def test_the_parts_of_a_long_sum(monkeypatch: pytest.MonkeyPatch, emulator: Emulator) -> None:
    """Their number depends on the shapes; a part begins where the one before it ends."""
    found = []
    monkeypatch.setattr(launcher, "add_parts", lambda parts, shape: found.append(parts) or parts.sum(0).reshape(shape))
    a, b = np.ones((5000, 2), np.float32), np.ones((5000, 3), np.float32)
    assert (matmul(a, b, transposed=True) == 5000).all()
    (parts,) = found
    assert parts.shape == (19, 6)
    assert set(parts[:-1, 0].tolist()) == {272.0}
    assert parts[-1, 0] == 5000 - 18 * 272
    monkeypatch.setattr(launcher, "_BLOCKS", 1)
    assert (matmul(a[:700], b[:700], transposed=True) == 700).all()
    assert len(found[-1]) == 1
