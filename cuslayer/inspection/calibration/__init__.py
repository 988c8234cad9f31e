"""Scale the weights of each layer so that its neurons fire at a given rate."""
