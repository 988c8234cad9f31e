"""HTML views of networks, neurons, tensors and events in notebooks."""
