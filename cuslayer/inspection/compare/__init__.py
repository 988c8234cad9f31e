"""Compare the gradients of a network with measured changes of its loss."""
