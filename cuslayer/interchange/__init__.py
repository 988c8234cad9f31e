"""Exchange: axes and weights of SLAYER-PyTorch, the HDF5 files of lava's netx, NIR, ONNX, arrays, and networks as C."""

from cuslayer.interchange.arrays import from_arrays
from cuslayer.interchange.axes import from_nchwt, to_nchwt
from cuslayer.interchange.c_code.export import ExportedC, export_c
from cuslayer.interchange.conversion.convert import Accuracy, Conversion, convert
from cuslayer.interchange.conversion.rates import ConvertedLayer
from cuslayer.interchange.integers.compare import Divergence, Moved, TwinComparison, compare_twin
from cuslayer.interchange.integers.quantize import quantize
from cuslayer.interchange.netx import export_hdf5, import_hdf5
from cuslayer.interchange.nir.read import import_nir
from cuslayer.interchange.nir.write import export_nir
from cuslayer.interchange.onnx.read import import_onnx
from cuslayer.interchange.slayer_pytorch import load_slayer

__all__ = [
    "Accuracy",
    "Conversion",
    "ConvertedLayer",
    "Divergence",
    "ExportedC",
    "Moved",
    "TwinComparison",
    "compare_twin",
    "convert",
    "export_c",
    "export_hdf5",
    "export_nir",
    "from_arrays",
    "from_nchwt",
    "import_hdf5",
    "import_nir",
    "import_onnx",
    "load_slayer",
    "quantize",
    "to_nchwt",
]
