"""What a notebook shows for networks, neurons and tensors."""
