"""Turns official checkpoints into a Triton model repository, checks it and runs it."""
