"""A context of processes that `mpiexec` has started. It imports mpi4py if there are several."""

from __future__ import annotations

import os
import pickle
import socket
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from functools import cache
from types import ModuleType, TracebackType
from typing import Any

import numpy as np

from cuslayer import backend
from cuslayer._base import check
from cuslayer._base.extras import optional
from cuslayer._base.files import alive
from cuslayer._base.threads import part_of_cores, share_quota
from cuslayer.backend import Array
from cuslayer.distributed.context import Context, Request

# The variables in which mpiexec of MPICH, Open MPI and PMIx, and srun store the number of started processes.
_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "PMIX_SIZE", "MPI_WORLD_SIZE")
# Seconds in which a process with more information may report first.
_GRACE = 1.0
# After each such interval of waiting, s, a process checks whether the others on this machine exist.
_LOOK = 2.0
# The maximum time, s, between two checks of a transfer that counts as waiting: the process itself may have been
# stopped.
_STEP = 1.0
# Tags of sizes and of values, above the tags of arrays.
_SIZE, _VALUE = (1 << 14) + 1, (1 << 14) + 2


def processes() -> int:
    """Return the number of processes that mpiexec has started, from its variables; 1 without it.

    >>> processes()
    1
    """
    given = [os.environ[name] for name in _SIZES if os.environ.get(name, "").isdigit()]
    return max(map(int, given), default=1)


@cache
@check.operation("distributed")
def world() -> Context:
    """Return the context of all processes that mpiexec has started with this one; without mpiexec, a single process.

    The first call initializes MPI, divides the cores of a machine among its processes, and gives each its own GPU if
    the device in use is one. From then on, an uncaught error ends all processes.

    Raises:
        ImportError: several processes were started, and mpi4py is not installed.
        ValueError: mpiexec and mpi4py belong to different MPIs.
    """
    started = processes()
    if started == 1:
        return Context()
    # Only one thread may call MPI.
    optional("mpi4py", "mpi").rc.thread_level = "funneled"
    mpi = optional("mpi4py.MPI", "mpi")
    if mpi.COMM_WORLD.size == 1:
        raise ValueError(
            f"mpiexec has started {started} processes, mpi4py finds one: they belong to different MPIs; "
            "pip install 'cuslayer[mpi]' installs both"
        )
    context = MPIContext(mpi)
    context.divide_machine()
    sys.excepthook = context.report
    threading.excepthook = lambda found: context.report(found.exc_type, found.exc_value, found.exc_traceback)
    return context


class MPIContext(Context):
    """The processes of MPI's COMM_WORLD."""

    def __init__(self, mpi: ModuleType) -> None:
        self._mpi = mpi
        # Our own communicator, separate from users' messages.
        self._comm = mpi.COMM_WORLD.Dup()
        self.rank, self.size = self._comm.rank, self._comm.size
        # The system's numbers of this machine's processes, by rank.
        self._names = self._comm.allgather((socket.gethostname(), os.getpid()))
        self._machines: dict[str, dict[int, int]] = {}
        for rank, (host, number) in enumerate(self._names):
            self._machines.setdefault(host, {})[rank] = number
        self._here = self._machines[socket.gethostname()]

    def gather(self, value: object) -> list[Any]:
        # By transfers with known partners and a time limit; MPI's own gather has no limit.
        mine = np.frombuffer(pickle.dumps(value), np.uint8)
        sizes = [np.array([mine.size if rank == self.rank else 0]) for rank in range(self.size)]
        self.exchange([sizes[self.rank]] * self.size, sizes, _SIZE).wait()
        found = [mine if rank == self.rank else np.empty(int(sizes[rank][0]), np.uint8) for rank in range(self.size)]
        self.exchange([mine] * self.size, found, _VALUE).wait()
        return [pickle.loads(each.data) for each in found]

    def exchange(self, parts: Sequence[Array], into: Sequence[Array], tag: int = 0) -> Request:
        byte, begun = self._mpi.BYTE, list[tuple[int | None, Any]]()
        # Each process starts with its neighbour, so that not all send to the first at once.
        for distance in range(1, self.size):
            source, target = (self.rank - distance) % self.size, (self.rank + distance) % self.size
            if into[source].size:
                begun.append((source, self._comm.Irecv([into[source].view(np.uint8), byte], source, tag)))
            if parts[target].size:
                begun.append((target, self._comm.Isend([parts[target].view(np.uint8), byte], target, tag)))
        return _Transfers(self, self._mpi, begun)

    def begin_sum(self, array: Array) -> Request:
        return _Transfers(self, self._mpi, [(None, self._comm.Iallreduce(self._mpi.IN_PLACE, array))])

    def fail(self, reason: str, code: int = 1) -> None:
        if self.rank:
            time.sleep(_GRACE)
        sys.stderr.write(f"cuslayer: process {self.rank} of {self.size}: {reason}\n")
        sys.stderr.flush()
        self._comm.Abort(code)

    def report(self, kind: type[BaseException], problem: BaseException | None, where: TracebackType | None) -> None:
        """End all processes because of an uncaught error."""
        traceback.print_exception(kind, problem, where)
        self.fail(f"{kind.__name__}: {problem}")

    def check_others(self) -> None:
        """End all processes if a process of this machine has ended, in case mpiexec does not."""
        for rank, number in self._here.items() if sys.platform != "win32" else ():
            if not alive(number):
                self.fail(f"process {rank} ({number}) has ended")

    def too_late(self, waiting: list[int | None]) -> None:
        """End all processes because some have not answered in time; None stands for any process."""
        late = [f"{rank} ({self._names[rank][1]} on {self._names[rank][0]})" for rank in waiting if rank is not None]
        who = f"process{'es' if len(late) > 1 else ''} {', '.join(late)}" if late else "another process"
        has = "have" if len(late) > 1 else "has"
        why = "stopped, hanging or out of reach; --timeout or Context.timeout sets the limit"
        self.fail(f"{who} {has} not answered for {self.timeout:g} s: {why}")

    def describe(self) -> str:
        machines = (
            f"{host} has {', '.join(f'{rank} ({number})' for rank, number in here.items())}"
            for host, here in self._machines.items()
        )
        return f"processes, with their numbers in the system: {'; '.join(machines)}"

    def divide_machine(self) -> None:
        """Give this process its part of the machine's cores and of the container's quota, and a GPU."""
        local = self._comm.Split_type(self._mpi.COMM_TYPE_SHARED)
        place, count = local.rank, local.size
        if hasattr(os, "sched_setaffinity"):
            given = local.allgather(sorted(os.sched_getaffinity(0)))
            # If the launcher has already bound the processes to cores, that stays.
            if all(each == given[0] for each in given):
                os.sched_setaffinity(0, part_of_cores(given[0], place, count))
        share_quota(count)
        local.Free()
        backend.use_card(place)


class _Transfers(Request):
    """MPI transfers, each with its partner process, None for all."""

    def __init__(self, context: MPIContext, mpi: ModuleType, begun: list[tuple[int | None, Any]]) -> None:
        self._context, self._mpi, self._begun = context, mpi, begun
        self._asked = time.monotonic()
        self._waited, self._look = 0.0, _LOOK

    def done(self) -> bool:
        if self._begun and self._mpi.Request.Testall([request for _, request in self._begun]):
            self._begun = []
        elif self._begun:
            now = time.monotonic()
            self._waited, self._asked = self._waited + min(now - self._asked, _STEP), now
            if self._waited > self._look:
                self._look += _LOOK
                self._context.check_others()
            limit = self._context.timeout
            if limit is not None and self._waited > limit:
                self._context.too_late(
                    sorted({rank for rank, request in self._begun if not request.Test()}, key=lambda rank: rank or 0)
                )
        return not self._begun
