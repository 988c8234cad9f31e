"""NumPy's operations on plain arrays, each with its pullback; `cuslayer.tape` makes them operations on tensors."""
