"""The version. It is written here and nowhere else: the build reads this file."""

__version__ = "0.2.0"
