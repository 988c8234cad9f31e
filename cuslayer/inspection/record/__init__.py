"""Record the arrays of a network's layers while it runs."""
