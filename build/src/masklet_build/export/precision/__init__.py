"""Engines in reduced precision: types are put into the modules before they are traced, so the graph itself says what is computed in which type.

choice.py    what is asked for: precision, attention, purpose
layers.py    layers and attention cores that take float32, compute in another type, and give float32
rewrite.py   a stage with such layers in place of its own
ranges.py    the largest values of everything that would become fp16, while the fp32 network works on real frames
check.py     how far a typed engine is from the fp32 network
"""
