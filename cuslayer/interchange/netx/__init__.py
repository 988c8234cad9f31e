"""Networks in the HDF5 format of lava's netx, which runs them on Loihi: write and read."""
