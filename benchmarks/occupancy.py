"""Registers, shared memory and spills of kernels, from NVRTC, and how many of their blocks a multiprocessor runs."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import compile_report
import numpy as np

from cuslayer.kernels.cuda import compile as source

# Of an H100 (compute capability 9.0), from NVIDIA's occupancy tables.
ARCHITECTURE = "sm_90"
REGISTERS = 65536
THREADS = 2048
BLOCKS = 32
SHARED = 228 << 10
# Shared memory that every block needs besides its own, and what registers and shared memory are rounded up to.
SHARED_A_BLOCK = 1 << 10
REGISTERS_A_WARP, SHARED_UNIT = 256, 128


@dataclass(frozen=True)
class Resources:
    """What a thread and a block of a kernel need.

    Attributes:
        registers: the registers of a thread.
        shared: the bytes of static shared memory of a block.
        spilled: the bytes of a thread that registers do not hold: its stack frame and spills.
    """

    registers: int
    shared: int
    spilled: int


def resources(kernel: str, dtype: str = "float32") -> Resources:
    """Return the resources of a kernel of the library on ARCHITECTURE."""
    _, log = compile_report.compiled(source.kernel_names()[kernel], dtype, ARCHITECTURE)
    row = next(row for row in compile_report.rows_in(log, dtype, ARCHITECTURE) if row.kernel == kernel)
    used = next(line for line in log.split("entry function")[1:] if line.strip().startswith(f"'{kernel}'"))
    shared = re.search(r"(\d+) bytes smem", used)
    return Resources(row.registers, int(shared[1]) if shared else 0, row.stack + row.spill_stores + row.spill_loads)


def blocks(needed: Resources, block: tuple[int, ...], dynamic: int = 0) -> int:
    """Return how many blocks of a kernel run on a multiprocessor at a time, with bytes of dynamic shared memory."""
    threads = int(np.prod(block))
    warps = -(-threads // 32)
    of_warp = -(-needed.registers * 32 // REGISTERS_A_WARP) * REGISTERS_A_WARP
    shared = -(-(needed.shared + dynamic + SHARED_A_BLOCK) // SHARED_UNIT) * SHARED_UNIT
    by_registers = REGISTERS // (of_warp * warps) if of_warp else math.inf
    return int(min(BLOCKS, THREADS // (32 * warps), by_registers, SHARED // shared))
