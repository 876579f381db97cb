"""`masklet-build lint`: what exported graphs must not have for TensorRT, found without it. The command is in engines/, which can ask a compiler.

graph.py       a graph with the type and the shape of every value, and what a rule says of it
structure.py   no control flow, types that agree, no input that decides a shape
forms.py       rules on attention and norms: forms that TensorRT recognises
check.py       all rules on the engines of an export, and masklet.contract
"""
