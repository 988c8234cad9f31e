"""Compiling together what a network needs: the list of its kernels, other processes, and a notice."""
