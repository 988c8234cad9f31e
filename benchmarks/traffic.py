"""The bytes that each CUDA kernel must move, for compile_report.py and gpu.py.

An array counts once where it is read and once where it is written, for each element-step: one neuron or signal at one
time step, or one weight at one step of an optimizer. Packed spikes count a bit. An element that is read again `cut`
steps later counts once: the second time it comes from the L2 cache. Arrays with one element a column or a filter, such
as delays and taps, do not count, nor do events. A bank of filters is counted with one filter. No kernel can be faster
than these bytes at the bandwidth of the memory.
"""

from __future__ import annotations

import numpy as np

from cuslayer.kernels.cuda import compile as source

# Bytes a second of an H100's memory (SXM, HBM3), from its data sheet.
BANDWIDTH = 3.35e12


def _several(*ways: tuple[str, str]) -> dict[str, str]:
    """Return the ways of a launch for 8 arrays of each kind, of which only the first counts: an element is of one."""
    return {f"{name}{i}": way if i == 0 else way.upper() for name, way in ways for i in range(8)}


_NUMBERS = {"constants": "", "rates": "", "step": "W", "watch": "W", "arrived": "W"}
_SCORE = {"labels": "", "error": "", "counts": "W", "fired": "W", "totals": "W", "arrived": "W"}
_SUMS = {"parts": "W", "totals": "W", "arrived": "W"}
_COUNTS = {"desired": "", "labels": "", "e": "w", "parts": "W", "error": "W", "arrived": "W"}
# How each kernel accesses its arrays: r reads an element, w writes it, rw updates it; W writes what does not count: one
# element a column or a tap, or the same as another array in another type.
WAYS = {
    "adam": {"w": "rw", "g": "r", "m": "rw", "v": "rw", "peak": "rw"},
    "adam_all": _several(("w", "rw"), ("g", "r"), ("m", "rw"), ("v", "rw"), ("peak", "rw")) | _NUMBERS,
    "adaptive": {
        **{"x": "r", "i_keep": "", "v_keep": "", "h_keep": "", "r_keep": "", "states": "W"},
        **{"u": "w", "s": "w", "h": "w", "r": "w"},
    },
    "adaptive_adjoint": {
        **{
            "g": "r",
            "u": "r",
            "h": "r",
            "r": "r",
            "states": "",
            "i_keep": "",
            "v_keep": "",
            "h_keep": "",
            "r_keep": "",
        },
        **{"y": "w", "sums": "W"},
    },
    "add_parts": {"parts": "r", "sums": "W"},
    "add_squares": _several(("g", "r")) | _SUMS,
    "clip_norm": _several(("g", "r"), ("y", "w")) | {"totals": ""},
    "clip_values": _several(("g", "r"), ("y", "w")),
    "conv": {"x": "r", "w": "", "y": "w"},
    "conv_input_adjoint": {"errors": "r", "w": "", "x": "w"},
    "conv_neuron": {"x": "r", "w": "", "u": "w", "half": "W", "s": "w"},
    "conv_neuron_adjoint": {
        **{"x": "r", "g": "r", "next_errors": "", "next_weight": "", "weights": "W", "u": "r", "half": ""},
        **{"g_u": "W", "errors": "w", "parts": "W"},
    },
    "conv_pool": {
        **{"x": "r", "w": "", "u": "w", "half": "W"},
        **{"pooled_u": "w", "pooled_half": "W", "s": "w", "ring": "W"},
    },
    "conv_pool_adjoint": {
        **{"x": "r", "pooled_g": "r", "u": "r", "half": "", "pooled_u": "r", "pooled_half": ""},
        **{"errors": "w", "parts": "W"},
    },
    "conv_weight_adjoint": {"x": "r", "errors": "r", "parts": "W"},
    "delay_steps": {"delay": "", "steps": "W", "fraction": "W"},
    "dense": {"words": "r", "w": "", "out": "w"},
    "dense_input_adjoint": {"errors": "r", "w": "", "g_x": "w"},
    "dense_neuron": {"words": "r", "w": "", "u": "w", "half": "W", "fired": "w", "by_neuron": "w"},
    "dense_neuron_adjoint": {"g": "r", "next_weight": "", "u": "r", "half": "", "past": "W", "errors": "w"},
    "dense_weight_adjoint": {"by_neuron": "r", "errors": "r", "g_w": "W"},
    "dropout_scale": {"state": "W", "arrived": "W", "scale": "w"},
    "filter_bank": {"x": "r", "w": "", "y": "w"},
    "filter_bank_adjoint": {"g": "r", "w": "", "y": "w"},
    "filter_bank_weight_adjoint": {"x": "r", "g": "r", "parts": "W"},
    "fir": {"x": "r", "taps": "", "a": "w"},
    "fir_adjoint": {"g": "r", "taps": "", "y": "w"},
    "leaky": {"x": "r", "i_keep": "", "v_keep": "", "states": "W", "u": "w", "s": "w"},
    "leaky_adjoint": {"g": "r", "u": "r", "i_keep": "", "v_keep": "", "y": "w"},
    "leaky_keep_adjoint": {
        **{"y": "r", "u": "r", "states": "", "i_keep": "", "v_keep": "", "g_i": "W", "g_v": "W"},
    },
    "loihi": {"x": "r", "u": "w", "s": "w"},
    "matmul": {"a": "r", "b": "", "c": "w"},
    "neuron": {"x": "r", "u": "w", "s": "w"},
    "neuron_adjoint": {"g": "r", "u": "r", "y": "w"},
    "neuron_adjoint_exact": {"g": "r", "u": "r", "g_u": "w", "y": "w"},
    "pack_bits": {"x": "r", "words": "w"},
    "pool": {"x": "r", "y": "w"},
    "pool_adjoint": {"g": "r", "x": "w"},
    "pool_neuron": {"x": "r", "u": "w", "half": "W", "s": "w"},
    "pool_neuron_adjoint": {"g": "r", "u": "r", "half": "", "g_u": "W", "x": "w"},
    "psp": {"x": "r", "a": "w"},
    "psp_adjoint": {"g": "r", "y": "w"},
    "recurrent_srm": {"x": "r", "w": "", "states": "W", "z": "w", "u": "w", "s": "w"},
    "recurrent_leaky": {"x": "r", "w": "", "keep": "", "states": "W", "u": "w", "s": "w"},
    "recurrent_adaptive": {"x": "r", "w": "", "keep": "", "states": "W", "u": "w", "s": "w", "h": "w", "r": "w"},
    "recurrent_adjoint_srm": {"g": "r", "u": "r", "w": "", "states": "W", "g_u": "w", "y": "w"},
    "recurrent_adjoint_leaky": {"g": "r", "u": "r", "w": "", "keep": "", "states": "W", "y": "w"},
    "recurrent_adjoint_adaptive": {"g": "r", "u": "r", "h": "r", "w": "", "keep": "", "states": "W", "y": "w"},
    "resonate": {"x": "r", "re_keep": "", "im_keep": "", "states": "W", "u": "w", "s": "w", "real_parts": "w"},
    "resonate_adjoint": {
        **{"g": "r", "u": "r", "real_parts": "r", "states": "", "re_keep": "", "im_keep": "", "y": "w", "sums": "W"},
    },
    "sampled_spike": {"a": "r", "taps": "", "u": "w", "s": "w"},
    "sampled_spike_adjoint_exact": {"g": "r", "u": "r", "taps": "", "y": "w"},
    "set_bits": {"events": "", "begin": "", "recordings": "", "words": "w", "by_neuron": "w"},
    "sigma_delta": {"x": "r", "states": "W", "u": "w", "s": "w", "passes": "w"},
    "sigma_delta_adjoint": {"g": "r", "u": "r", "passes": "r", "y": "w"},
    "score_add": {"s": "r", **_SCORE},
    "score_add_numbers": {"s": "r", **_SCORE},
    "score_add_packed": {"s": "r", **_SCORE},
    "sgd": {"w": "rw", "g": "r", "v": "rw"},
    "sgd_all": _several(("w", "rw"), ("g", "r"), ("v", "rw")) | _NUMBERS,
    "shift": {"x": "r", "delay": "", "y": "w"},
    "shift_delay_adjoint": {"g": "r", "x": "r", "delay": "", "y": "W"},
    "shift_linear": {"x": "r", "delay": "", "near": "", "far": "", "y": "w"},
    "shift_spikes": {"x": "r", "delay": "", "y": "w"},
    "spike": {"a": "r", "u": "w", "s": "w"},
    "spike_adjoint": {"g": "r", "u": "r", "y": "w"},
    "spike_adjoint_exact": {"g": "r", "u": "r", "y": "w"},
    "spike_count_error": {"s": "r", **_COUNTS},
    "spike_count_error_adjoint": {"e": "r", "g": "", "y": "w"},
    "spike_count_error_numbers": {"s": "r", **_COUNTS},
    "spike_count_error_packed": {"s": "r", **_COUNTS},
    "store_float16": {"x": "r", "half": "w"},
    "surrogate_adjoint": {"g": "r", "u": "r", "y": "w"},
    "surrogate_adjoint_exact": {"g": "r", "u": "r", "y": "w"},
    "transpose_bits": {"words": "r", "by_neuron": "w"},
    "unpack_bits": {"words": "r", "x": "w"},
}

# The elements of an array for each element-step, where it is not one: with pooling windows of 2 x 2. Convolutions and
# dense layers have as many outputs as inputs.
ELEMENTS = {
    ("conv_pool", "pooled_u"): 1 / 4,
    ("conv_pool", "s"): 1 / 4,
    ("conv_pool_adjoint", "pooled_g"): 1 / 4,
    ("conv_pool_adjoint", "pooled_u"): 1 / 4,
    ("pool", "x"): 4,
    ("pool_adjoint", "x"): 4,
    ("pool_neuron", "x"): 4,
    ("pool_neuron_adjoint", "x"): 4,
}


def bytes_per_element(kernel: str, dtype: str) -> float:
    """Return the bytes that a kernel moves for each element-step, in arrays of a number type."""
    sizes = {"real": np.dtype(dtype).itemsize, "bool": 1, "unsigned": 1 / 8, "float16": 2, "long long": 8, "double": 8}
    signature = source.signatures(source.text(source.kernel_names()[kernel], np.dtype(dtype)))[kernel]
    counted = {
        name: sum(way in "rw" for way in ways) * ELEMENTS.get((kernel, name), 1) for name, ways in WAYS[kernel].items()
    }
    return sum(counted[parameter.name] * sizes[parameter.kind] for parameter in signature if parameter.array)
