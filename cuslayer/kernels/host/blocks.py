"""Blocks of columns: what the loops over time share.

A signal (T, ...) is a matrix (T, columns), handled in blocks of columns: the states of a block stay in the first-level
cache, and the inner loop runs over neighbouring columns, which the compiler turns into SIMD. All states of a block lie
in one array at fixed distances: with one array for each state, the compiler would have to check at run time that no two
overlap, and gives up after a few.
"""

from __future__ import annotations

import math

import numpy as np

from cuslayer.backend import Array

# Columns of a block.
BLOCK = 2048
# The least number of columns of a part that one thread computes.
GRAIN = 128


def columns(x: Array) -> Array:
    """Return x (T, ...) as the matrix (T, columns), without a copy."""
    return x.reshape(x.shape[0], math.prod(x.shape[1:]))


def numbers(x: Array) -> Array:
    """Return spikes as float32, and numbers as they are."""
    return x.astype(np.float32) if x.dtype == bool else x
