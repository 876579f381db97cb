"""`masklet-build lint`: what exported graphs must not have for TensorRT, found without it. What a compiler refuses it says itself, as a rule: the
command is in engines/, which can ask one.

graph.py       a graph with the type and the shape of every value, and what a rule says of it
structure.py   no control flow, types that agree, no input that decides a shape
forms.py       rules on attention and norms: forms that TensorRT recognises
refused.py     what a compiler refuses in words that lead nowhere
check.py       all rules on the engines of an export, and masklet.contract
"""
