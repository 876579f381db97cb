"""EfficientTAM's own part: its image encoder."""
