"""What tensors, operations and kernels share."""
