"""The same networks in each library: one file a library, which a worker imports and nobody else."""
