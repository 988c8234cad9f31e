"""The version. The build reads it from this file, its only place."""

__version__ = "0.3.0"
