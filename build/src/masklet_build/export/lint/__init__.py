"""`masklet-build lint`: what TensorRT would refuse in exported graphs, or run slowly or wrongly, found without TensorRT.

operators.py   what TensorRT's parser takes, as data, with its source
graph.py       a graph with the type and the shape of every value
findings.py    what a rule says: where, what, why, what to do
structure.py   rules on operators, types and shapes
forms.py       rules on attention and norms: forms that TensorRT recognises
contract.py    names, types and dimensions of masklet.contract
check.py       all rules on the engines of an export
command.py     the command
"""
