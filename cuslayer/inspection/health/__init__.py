"""Diagnose a network and suggest one setting to change."""
