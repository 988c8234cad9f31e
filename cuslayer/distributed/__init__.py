"""Training by several processes, which `mpiexec` starts: any number of processes gives the same bits."""

from cuslayer.distributed.context import Context
from cuslayer.distributed.mpi import processes, world
from cuslayer.distributed.parallel import DataParallel

__all__ = ["Context", "DataParallel", "processes", "world"]
