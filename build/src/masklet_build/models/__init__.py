"""The networks in PyTorch, under the official parameter names, cut into the stages that a server runs.

sam/                              parts that the families share: mask decoder, memory attention, memory encoder, prompt encoder, layers
efficienttam/ sam2/ sam3/ edgetam/ what a family has of its own, above all its image encoder
variants.py, trunks.py            a variant by its name, also small ones for tests; the numbers of its backbone; no torch
network.py                        a variant's network, joined from them
stages.py                         its five stages, called with numpy arrays
samples.py                        random inputs for them
"""
