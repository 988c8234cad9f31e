"""Networks in the Neuromorphic Intermediate Representation (NIR), which other libraries read: write and read."""
