"""One function a command: the Python API, and the only place that puts the parts together."""
