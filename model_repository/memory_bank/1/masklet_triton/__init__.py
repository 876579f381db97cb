"""What the shell of memory_bank needs of Triton: engines and metrics."""
