"""Networks in files: `save` describes every object as JSON and arrays, `load` rebuilds it from the description."""

from cuslayer.saving.file import load, save

__all__ = ["load", "save"]
