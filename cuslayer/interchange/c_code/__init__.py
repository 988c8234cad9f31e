"""C99 of a network, with the bits of its stream: `export_c`."""
