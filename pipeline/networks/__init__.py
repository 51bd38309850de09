"""Networks from small parts. Shapes in comments: B batch, C channels, and the spatial axes D H W (H W in 2D)."""
