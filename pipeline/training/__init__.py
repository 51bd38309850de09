"""Training: a small state, the schedule, and the loop in visible functions."""
