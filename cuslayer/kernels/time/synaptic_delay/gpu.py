"""Launcher of `synaptic_delay.cu`: a convolution of packed spikes whose synapses have one delay each."""

from __future__ import annotations

from cuslayer.backend import Array
from cuslayer.kernels.constants import Window
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.images import places
from cuslayer.kernels.cuda.launch import contiguous, empty
from cuslayer.kernels.spikes.gpu import packed
from cuslayer.kernels.spikes.packed import WORD, PackedSpikes, words_of

__all__ = ["forward"]

# Bytes of shared memory that every GPU has, and the least steps of a block, if they fit.
_SHARED = 47 << 10
_STEPS = 64


def forward(
    x: Array | PackedSpikes, weight: Array, lag: Array, lags: int, since: int, window: Window, groups: int
) -> Array:
    """Return what `forward` of `cpu.py` does for its arguments."""
    steps, samples, *frame = x.shape
    spikes = packed(x.reshape(steps * samples, *frame))
    rows, columns = window.outputs((frame[0], frame[1]), ceil=False)
    out = empty(weight, (steps, samples, rows, columns, weight.shape[3]), weight.dtype)
    line = WORD * weight.itemsize
    chunk = min(max(_STEPS, 2 * lags), max(steps, 1), _SHARED // line)
    kernel("synaptic_delay", weight.dtype).launch(
        (words_of(columns * weight.shape[3]) * rows * samples * -(-steps // chunk),),
        (WORD,),
        chunk * line,
        x=spikes.words,
        lag=contiguous(lag),
        w=contiguous(weight),
        y=out,
        lags=lags,
        chunk=chunk,
        **places(spikes, out, window),
        groups=groups,
    )
    return out[since:]
