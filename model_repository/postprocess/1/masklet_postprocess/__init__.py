"""Pure functions of the postprocess model: low-resolution logits to masks at frame size, in the form that the client asked for. No Triton here."""
