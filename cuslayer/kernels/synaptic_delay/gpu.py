"""Launcher of `synaptic_delay.cu`: a dense layer of packed spikes whose synapses have one delay each."""

from __future__ import annotations

from cuslayer.backend import Array
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.launch import contiguous, empty
from cuslayer.kernels.dense.busy import busy_above
from cuslayer.kernels.spikes.gpu import packed
from cuslayer.kernels.spikes.packed import WORD, PackedSpikes

__all__ = ["forward"]

# Bytes of shared memory that every GPU has, but for a list of spikes; and the least steps of a block, if they fit.
_SHARED, _STEPS = 47 << 10, 64


def forward(x: Array | PackedSpikes, weight: Array, lag: Array, lags: int, since: int = 0) -> Array | None:
    """Return what `forward` of `cpu.py` does for its arguments; None where shared memory is short."""
    (steps, samples, inputs), outputs, line = x.shape, weight.shape[1], WORD * weight.itemsize
    chunk = min(max(_STEPS, 2 * lags), max(steps, 1), (_SHARED - 4 * (lags + 1)) // (line + 4))
    if chunk < 1:
        return None
    spikes = packed(x.reshape(steps * samples, inputs))
    out = empty(weight, (steps, samples, outputs), weight.dtype)
    kernel("synaptic_delay", weight.dtype).launch(
        (-(-outputs // WORD) * samples * -(-steps // chunk),),
        (WORD,),
        chunk * line + 4 * (chunk + lags + 1),
        words=spikes.words,
        lag=contiguous(lag),
        w=contiguous(weight),
        out=out,
        steps=steps,
        samples=samples,
        inputs=inputs,
        outputs=outputs,
        lags=lags,
        chunk=chunk,
        lines=spikes.lines,
        line_words=spikes.words.shape[2],
        line=spikes.line,
        limit=busy_above(lags * inputs, outputs, weight.itemsize),
    )
    return out[since:]
