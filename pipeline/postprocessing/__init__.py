"""What is done to a mask after the network."""
