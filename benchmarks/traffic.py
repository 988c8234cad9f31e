"""What each CUDA kernel has to move: the one table behind docs/kernels.md and the shares of gpu.py.

An array counts once where it is read and once where it is written, for each element-step: one neuron or signal at one
step of time, or one weight at one step of an optimizer. What is read a second time, `cut` steps later, counts once: the
second time it comes from the L2 cache. What one column or one filter has only one of, a delay or the taps, counts as
nothing. A bank of filters is taken for a bank of one. No kernel can be faster than this many bytes at the bandwidth of
the memory.
"""

from __future__ import annotations

import numpy as np

from cuslayer.kernels.cuda import compile as source

# Bytes a second of an H100's memory (SXM, HBM3), by its data sheet.
BANDWIDTH = 3.35e12

# The ways of each array of each kernel: r where an element is read, w where it is written, both where it is updated; W
# where what is written is one of a column or of a tap, which counts as nothing.
WAYS = {
    "adam": {"w": "rw", "g": "r", "m": "rw", "v": "rw", "peak": "rw"},
    "filter_bank": {"x": "r", "w": "", "y": "w"},
    "filter_bank_adjoint": {"g": "r", "w": "", "y": "w"},
    "filter_bank_weight_adjoint": {"x": "r", "g": "r", "parts": "W"},
    "fir": {"x": "r", "taps": "", "a": "w"},
    "fir_adjoint": {"g": "r", "taps": "", "y": "w"},
    "loihi": {"x": "r", "u": "w", "s": "w"},
    "neuron": {"x": "r", "u": "w", "s": "w"},
    "neuron_adjoint": {"g": "r", "u": "r", "y": "w"},
    "neuron_adjoint_exact": {"g": "r", "u": "r", "g_u": "w", "y": "w"},
    "psp": {"x": "r", "a": "w"},
    "psp_adjoint": {"g": "r", "y": "w"},
    "sgd": {"w": "rw", "g": "r", "v": "rw"},
    "shift": {"x": "r", "delay": "", "y": "w"},
    "shift_delay_adjoint": {"g": "r", "x": "r", "delay": "", "y": "W"},
    "shift_linear": {"x": "r", "delay": "", "near": "", "far": "", "y": "w"},
    "shift_spikes": {"x": "r", "delay": "", "y": "w"},
    "spike": {"a": "r", "u": "w", "s": "w"},
    "spike_adjoint": {"g": "r", "u": "r", "y": "w"},
    "spike_adjoint_exact": {"g": "r", "u": "r", "y": "w"},
}


def bytes_per_element(kernel: str, dtype: str) -> int:
    """Return the bytes that a kernel moves for each element-step, in arrays of a number type."""
    sizes = {"real": np.dtype(dtype).itemsize, "bool": 1, "long long": 8}
    signature = source.signatures(source.text(source.kernel_names()[kernel], np.dtype(dtype)))[kernel]
    counted = {name: sum(way in "rw" for way in ways) for name, ways in WAYS[kernel].items()}
    return sum(counted[parameter.name] * sizes[parameter.kind] for parameter in signature if parameter.array)


def picoseconds(kernel: str, dtype: str) -> float:
    """Return the time that those bytes take at BANDWIDTH."""
    return 1e12 * bytes_per_element(kernel, dtype) / BANDWIDTH
