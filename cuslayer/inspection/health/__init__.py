"""Diagnose a network: rates, potentials and errors of each layer, and what to change."""
