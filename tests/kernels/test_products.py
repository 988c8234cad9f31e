"""Products of sizes in the CUDA sources have 64 bits, unless they are bounded.

NVRTC compiles without optimization here, so that each product and each conversion of a source is an instruction.
"""

import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from cuslayer.kernels.cuda import compile as source
from cuslayer.kernels.cuda import images
from tools import nvrtc

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import compile_report

# By what the products of two 32-bit integers, and the numbers that are cut to 32 bits, are bounded, and how many of
# them each source has.
BOUNDED = {
    "threads and lanes of a block, steps of a chunk, indices of shared memory": {
        "arrays.cuh": 2,
        "backward_neurons.cuh": 6,
        "common.cuh": 2,
        "dense_neuron.cu": 30,
        "dense_neuron_adjoint.cu": 17,
        "forward_neurons.cuh": 10,
        "matmul.cu": 48,
        "neuron_adjoint.cuh": 42,
        "optim.cu": 1,
        "packed_neuron.cuh": 6,
        "scan.cuh": 1,
    },
    "places in an image (`images.py` refuses larger ones) or in a window, and weights of a convolution": {
        "batch_norm.cu": 7,
        "conv.cu": 15,
        "conv_adjoint.cu": 55,
        "conv_neuron.cu": 12,
        "conv_neuron_adjoint.cu": 1,
        "conv_pool_adjoint.cu": 14,
        "images.cuh": 8,
        "pool.cu": 10,
        "pool_neuron.cu": 3,
        "pool_neuron_adjoint.cu": 2,
        "recurrent_synapses.cuh": 26,
        "synaptic_delay.cu": 19,
        "tap_sums.cuh": 156,
        "window.cuh": 67,
        "window_count.cuh": 13,
    },
    "words of time of a batch, below 2**32; bits of a word": {
        "dense.cu": 32,
        "dropout.cu": 11,
        "recurrent.cu": 7,
        "spike_count.cu": 6,
        "spike_list.cuh": 49,
        "spikes.cu": 34,
    },
}
ALLOWED = {file: count for files in BOUNDED.values() for file, count in files.items()}
NARROW = re.compile(r"\s*(?:@\S+\s+)?(?:(?:mul|mad)\.lo\.[su]32|cvt\.[su]32\.[su]64)\s")
LOCATION = re.compile(r"\s*\.loc\s+(\d+) (\d+) \d+(.*)")


def narrow(code: str) -> Counter[tuple[str, int]]:
    """Return the number of products of 32 bits and of numbers cut to 32 bits in each line of a source."""
    ptx = nvrtc.compile(code, "compute_90", (*source.OPTIONS, "-G"))[0].rstrip(b"\0").decode()
    files = dict(re.findall(r'\.file\s+(\d+) "(?:[^"]*/)?([^"/]*)"', ptx))
    place, function, counts = None, 0, Counter()
    for line in ptx.splitlines():
        # A line is there for each function that has it, and each call that it is a part of.
        function += ".entry" in line or ".func" in line
        if at := LOCATION.match(line):
            place = (files[at[1]], int(at[2])), function, at[3]
        elif NARROW.match(line):
            counts[place] += 1
    most = Counter()
    for (line, *_), count in counts.items():
        most[line] = max(most[line], count)
    return most


def narrow_lines() -> Counter[tuple[str, int]]:
    """Return them for all sources; those with neurons are compiled for one kind too."""
    most = Counter()
    for name in compile_report.sources():
        if " of " not in name or name.endswith(" of AdaptiveLIF"):
            most |= narrow(compile_report.text_of(name, "float32"))
    return most


def test_no_index_is_a_product_of_32_bits():
    lines, found = narrow_lines(), Counter()
    for (file, _), count in lines.items():
        found[file] += count
    wrong = [file for file in found | Counter(ALLOWED) if found[file] != ALLOWED.get(file, 0)]
    text = [
        f"{file}: {found[file]} of {ALLOWED.get(file, 0)}, in the lines {sorted(n for f, n in lines if f == file)}"
        for file in wrong
    ]
    assert not wrong, "\n".join(["make them long long, or say here by what they are bounded:", *text])


@pytest.mark.parametrize(
    ("index", "count"),
    [
        ("(long long)i * j", 0),
        ("(long long)u * v", 0),
        ("n * i", 0),
        ("i * j", 1),
        ("n + u * v", 1),
        ("(long long)(u * v)", 1),
        ("8 * u + n", 1),
        ("int(n * i)", 1),
        ("n + blockIdx.x * blockDim.x", 1),
    ],
)
def test_what_counts(index, count):
    parameters = "float *x, int i, int j, unsigned u, unsigned v, long long n"
    code = f'extern "C" __global__ void k({parameters})\n{{ x[{index}] = 1; }}'
    assert sum(narrow(code).values()) == count


def test_an_image_has_few_enough_values():
    size = 1 << 10
    frames = np.broadcast_to(np.float32(0), (3, 2, size, size, 2 * size - 1))
    assert images.image_of(frames)["columns"] == size
    with pytest.raises(
        ValueError, match=r"^an image on a GPU must have at most 2147483647 values, got 1024 x 1024 x 2048$"
    ):
        images.map_of(np.broadcast_to(np.float32(0), (3, 2, size, size, 2 * size)))
