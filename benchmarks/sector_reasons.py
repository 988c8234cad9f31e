"""Why some arrays need fewer sectors than their kernels access: the reasons in the table of docs/kernels.md."""

from __future__ import annotations

# The share of needed sectors below which an array or a kernel needs a reason.
LEAST = 0.8

_WINDOWS = (
    "a window is one to three words of each of some lines, which are not neighbours; "
    "memory sends the words of a frame once, the caches serve all windows"
)
_VOTES = (
    "a warp has a word of each step; the second-level cache joins those of neighbouring warps before memory gets them"
)

# By kernel and array. Where a kernel needs a reason, it is that of the array with most sectors that are not needed.
REASONS = {
    ("set_bits", "events"): "the events of a recording begin anywhere in a sector",
    ("set_bits", "words"): "the neurons of successive events lie anywhere in a frame",
    ("set_bits", "by_neuron"): "successive events are those of different neurons, each with words of its own",
    ("dense_neuron", "fired"): _VOTES,
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
        "a thread reads the row of its neuron, once before the steps; in the steps it reads a copy in another order"
    ),
    ("conv_pool_adjoint", "x"): _WINDOWS,
}


def reason(kernel: str, array: str) -> str:
    """Return the reason of an array by its name in the counts, `x=y` for one that is two; '' if there is none."""
    return next((REASONS[kernel, name] for name in array.split("=") if (kernel, name) in REASONS), "")
