"""Pure functions of the preprocess model: frames, prompts and masks to the fixed tensors of `contract.preprocess`. No Triton here."""
