"""What runs a network that segments: PyTorch, or OpenVINO on a CPU."""
