"""A reader of HDF5 for files of unknown origin: data sets of numbers and text, without links, external or virtual data.

The C library of HDF5 runs for ever or crashes on some damaged files, and reads other files that a file names. Every
access is checked here, loops end with the bytes of the file, and the size of data is known before memory is taken.
Groups, attributes, chunks and checksums of old and of new files are read; data types are integers, IEEE floating
numbers, enumerations, and text of fixed or variable length.

Source: HDF5 File Format Specification, versions 1.1 to 3.0, The HDF Group.
"""

from __future__ import annotations

from cuslayer.hdf5.objects import Dataset, Group, open_root
from cuslayer.hdf5.source import Damaged

__all__ = ["Damaged", "Dataset", "Group", "open_root"]
