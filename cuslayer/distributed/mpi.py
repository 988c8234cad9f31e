"""A context of processes that `mpiexec` has started. Imports mpi4py when there are several."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from cuslayer import backend
from cuslayer.backend import Array
from cuslayer.distributed.context import Context, Request
from cuslayer.extras import optional
from cuslayer.files import alive

# Where mpiexec of MPICH, of Open MPI and of PMIx, and srun, say how many processes they have started.
_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "PMIX_SIZE", "MPI_WORLD_SIZE")
# Seconds in which the process that knows more may report first.
_GRACE = 1.0
# Seconds of waiting for others after which, again and again, those of this machine are looked for.
_LOOK = 2.0


def processes() -> int:
    """Return how many processes mpiexec has started, by its variables; 1 without it.

    >>> processes()
    1
    """
    given = [os.environ[name] for name in _SIZES if os.environ.get(name, "").isdigit()]
    return max(map(int, given), default=1)


@cache
def world() -> Context:
    """Return the context of all processes that mpiexec has started with this one; that of one process without it.

    The first call initializes MPI, divides the cores of a machine among its processes, gives each a GPU of its own
    where the device in use is one, and lets an error that nobody catches end all processes.

    Raises:
        ImportError: several processes were started, and mpi4py is not installed.
        ValueError: mpiexec and mpi4py belong to different MPIs.
    """
    started = processes()
    if started == 1:
        return Context()
    # Only one thread calls MPI.
    optional("distributed", "mpi4py", "mpi").rc.thread_level = "funneled"
    mpi = optional("distributed", "mpi4py.MPI", "mpi")
    if mpi.COMM_WORLD.size == 1:
        raise ValueError(
            f"distributed: mpiexec has started {started} processes, mpi4py sees one: they belong to different MPIs; "
            "pip install 'cuslayer[mpi]' installs both"
        )
    context = MPIContext(mpi)
    context.divide_machine()
    sys.excepthook = context.report
    threading.excepthook = lambda found: context.report(found.exc_type, found.exc_value, found.exc_traceback)
    return context


class MPIContext(Context):
    """The processes of MPI's COMM_WORLD.

    Args:
        mpi: the module mpi4py.MPI.
    """

    def __init__(self, mpi: Any) -> None:
        self._mpi = mpi
        # A communicator of our own: what users send by theirs does not meet ours.
        self._comm = mpi.COMM_WORLD.Dup()
        self.rank, self.size = self._comm.rank, self._comm.size
        # The numbers that the system has given to the processes of this machine, by rank.
        found = self._comm.allgather((socket.gethostname(), os.getpid()))
        self._machines: dict[str, dict[int, int]] = {}
        for rank, (host, number) in enumerate(found):
            self._machines.setdefault(host, {})[rank] = number
        self._here = self._machines[socket.gethostname()]

    def gather(self, value: Any) -> list[Any]:
        return list(self._comm.allgather(value))

    def exchange(self, parts: Sequence[Array], into: Sequence[Array], tag: int = 0) -> Request:
        byte, begun = self._mpi.BYTE, []
        # Each process begins with its neighbour, so that not all send to the first at once.
        for distance in range(1, self.size):
            source, target = (self.rank - distance) % self.size, (self.rank + distance) % self.size
            if into[source].size:
                begun.append(self._comm.Irecv([into[source].view(np.uint8), byte], source, tag))
            if parts[target].size:
                begun.append(self._comm.Isend([parts[target].view(np.uint8), byte], target, tag))
        return _Transfers(self, self._mpi, begun)

    def begin_sum(self, array: Array) -> Request:
        return _Transfers(self, self._mpi, [self._comm.Iallreduce(self._mpi.IN_PLACE, array)])

    def fail(self, reason: str, code: int = 1) -> None:
        if self.rank:
            time.sleep(_GRACE)
        sys.stderr.write(f"cuslayer: process {self.rank} of {self.size}: {reason}\n")
        sys.stderr.flush()
        self._comm.Abort(code)

    def report(self, kind: Any, problem: Any, where: Any) -> None:
        """End all processes by an error that nobody has caught."""
        traceback.print_exception(kind, problem, where)
        self.fail(f"{kind.__name__}: {problem}")

    def check_others(self) -> None:
        """End all processes if one of this machine has ended, in case that mpiexec does not."""
        for rank, number in self._here.items() if sys.platform != "win32" else ():
            if not alive(number):
                self.fail(f"process {rank} ({number}) has ended")

    def describe(self) -> str:
        machines = (
            f"{host} has {', '.join(f'{rank} ({number})' for rank, number in here.items())}"
            for host, here in self._machines.items()
        )
        return f"processes, with their numbers in the system: {'; '.join(machines)}"

    def divide_machine(self) -> None:
        """Give this process its part of the machine's cores, and a GPU."""
        local = self._comm.Split_type(self._mpi.COMM_TYPE_SHARED)
        place, count = local.rank, local.size
        if hasattr(os, "sched_setaffinity"):
            given = local.allgather(sorted(os.sched_getaffinity(0)))
            # Where the launcher has bound the processes to cores already, that stays.
            if all(each == given[0] for each in given):
                os.sched_setaffinity(0, backend.part_of_cores(given[0], place, count))
        local.Free()
        backend.use_card(place)


class _Transfers(Request):
    """Transfers of MPI."""

    def __init__(self, context: MPIContext, mpi: Any, begun: list[Any]) -> None:
        self._context, self._mpi, self._begun = context, mpi, begun
        self._look = time.monotonic() + _LOOK

    def done(self) -> bool:
        if self._begun and self._mpi.Request.Testall(self._begun):
            self._begun = []
        elif self._begun and time.monotonic() > self._look:
            self._look += _LOOK
            self._context.check_others()
        return not self._begun
