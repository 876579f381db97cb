"""SAM 3's own part: its image encoder, and which tensors of its checkpoint the tracker uses."""
