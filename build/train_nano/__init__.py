"""Training of masklet's own small model, `nano`: on clips drawn by a program, through the memory, as a server tracks."""
