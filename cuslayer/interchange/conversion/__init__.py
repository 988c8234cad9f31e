"""Conversion of networks of numbers into spiking networks."""
