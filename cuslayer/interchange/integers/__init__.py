"""Networks of integers: `quantize` makes them, and `export_c` writes them."""
