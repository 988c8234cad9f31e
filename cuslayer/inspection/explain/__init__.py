"""Explain why a neuron fired: the exact parts of its potential."""
