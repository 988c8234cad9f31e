"""Networks in the HDF5 format of netx, the Loihi deployment library: write and read."""
