"""The memory of every live video: what is kept of each object, read for the next frame, and thrown away."""
