"""Why some arrays need fewer sectors than their kernels access: the reasons in the table of docs/kernels.md."""

from __future__ import annotations

# The share of needed sectors below which an array or a kernel needs a reason.
LEAST = 0.8

_WINDOWS = "a window is a few words of each of some lines; memory sends a frame once, the caches serve all its windows"
_VOTES = "a warp writes a word of each step; the second-level cache joins them with those of neighbouring warps"

# By kernel and array. Where a kernel needs a reason, it is that of the array with most sectors that are not needed.
REASONS = {
    ("set_bits", "events"): "the events of a recording begin anywhere in a sector",
    ("set_bits", "words"): "the rows of a block's tile begin anywhere in a sector",
    ("set_bits", "by_neuron"): "the rows of a block's tile begin anywhere in a sector",
    ("dense_neuron", "fired"): _VOTES,
    ("dense_neuron", "by_neuron"): (
        "a lane writes a word of its neuron every 32 steps; the second-level cache joins them with the next ones"
    ),
    ("conv", "x"): _WINDOWS,
    ("conv_neuron", "x"): _WINDOWS,
    ("conv_neuron", "s"): _VOTES,
    ("conv_pool", "x"): _WINDOWS,
    ("conv_pool", "s"): _VOTES,
    ("pool", "x"): _WINDOWS,
    ("pool_neuron", "x"): _WINDOWS,
    ("pool_neuron", "s"): _VOTES,
    ("conv_weight_adjoint", "x"): _WINDOWS,
    ("conv_neuron_adjoint", "x"): _WINDOWS,
    ("conv_neuron_adjoint", "next_weight"): (
        "a thread copies the row of its neuron once; in the steps neighbouring threads read neighbours of the copy"
    ),
    ("conv_pool_adjoint", "x"): _WINDOWS,
}


def reason(kernel: str, array: str) -> str:
    """Return the reason of an array by its name in the counts, `x=y` for one that is two; '' if there is none."""
    return next((REASONS[kernel, name] for name in array.split("=") if (kernel, name) in REASONS), "")
