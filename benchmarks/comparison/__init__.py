"""The parts of benchmarks/peers.py: the environment, the processes, the models in each library, and the report."""
