"""Kinds of hostile requests: a function each, in families of a file each."""
