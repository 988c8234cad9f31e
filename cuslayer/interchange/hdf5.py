"""The library for HDF5 files, which is not one of those that everybody needs."""

from __future__ import annotations

import importlib
from typing import Any


def h5py(op: str) -> Any:
    """Return the library h5py.

    Raises:
        ImportError: it is missing; the extra that brings it is named.
    """
    try:
        return importlib.import_module("h5py")
    except ImportError:
        raise ImportError(f"{op}: h5py is missing; pip install 'cuslayer[hdf5]'") from None
