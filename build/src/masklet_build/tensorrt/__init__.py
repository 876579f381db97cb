"""TensorRT engines: which shapes they are built for, building them, and running them. TensorRT itself is imported only where it is used."""
