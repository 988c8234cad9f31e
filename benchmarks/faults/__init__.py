"""Faults for `soak.py`: deaths, full disks, damaged recordings, clocks that jump, signals, two runs in one folder."""
