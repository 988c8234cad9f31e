"""The table of NumPy's functions on tensors, with NumPy's names and arguments; `cuslayer.functions` exports them."""
