"""The networks in PyTorch, and the numbers of their backbones."""
