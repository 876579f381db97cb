"""TensorRT plans: building them, what they are bound to, and running them. TensorRT itself is imported only where it is used."""
