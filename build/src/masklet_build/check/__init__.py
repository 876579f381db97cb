"""`masklet-build selftest`: are these engines right on this machine? The first command on a GPU.

A fused attention kernel that gives wrong numbers raises no error, and nothing that can be checked without the GPU finds it. So every engine is asked
what the float32 network was asked before (`fixtures`), a clip is tracked through the server's own models in this process, and the report says which
engine is off, by how much, and what to build instead.
"""
