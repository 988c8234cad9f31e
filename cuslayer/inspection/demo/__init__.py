"""The demonstration of a network: one HTML page in which it recognizes digits that the reader draws."""

from cuslayer.inspection.demo.write import demo

__all__ = ["demo"]
