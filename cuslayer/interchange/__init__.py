"""Exchange with other libraries: axes and weights of SLAYER-PyTorch, and the HDF5 files of lava's netx."""

from cuslayer.interchange.axes import from_nchwt, to_nchwt
from cuslayer.interchange.netx.read import import_hdf5
from cuslayer.interchange.netx.write import export_hdf5
from cuslayer.interchange.slayer_pytorch import load_slayer

__all__ = ["export_hdf5", "from_nchwt", "import_hdf5", "load_slayer", "to_nchwt"]
