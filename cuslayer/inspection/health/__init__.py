"""Diagnose a network and suggest settings to change."""
