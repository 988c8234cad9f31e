"""Training by several processes, which `mpiexec` starts: the same bits on any number of them."""

from cuslayer.distributed.context import Context
from cuslayer.distributed.mpi import processes, world
from cuslayer.distributed.parallel import DataParallel

__all__ = ["Context", "DataParallel", "processes", "world"]
