"""Training samples: prepared cases kept on disk, and the patches drawn from them."""
