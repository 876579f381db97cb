"""Kinds of hostile requests: a function each, in families of a file each."""

from benchmarks.fuzz.kinds import frames, gone, inner, parameters, prompts, sequences, states, walks

FAMILIES = (frames, prompts, parameters, states, sequences, inner, walks, gone)  # importing them fills the registry
