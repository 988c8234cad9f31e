"""Encoders: images and signals that are no spikes yet become spikes (T, N, ...), one encoder a file.

They run on the CPU, as the generator does, so that a seed gives the same spikes on every device, and hand over arrays
on the device in use.
"""

from cuslayer.encoding.delta import encode_delta
from cuslayer.encoding.latency import encode_latency
from cuslayer.encoding.poisson import encode_poisson

__all__ = ["encode_delta", "encode_latency", "encode_poisson"]
