"""Random changes to training samples; nothing outside training imports this."""
