"""What is wrong with a delivery, before anyone trains on it."""
