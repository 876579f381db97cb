"""What a rule says."""

from __future__ import annotations

from dataclasses import dataclass

import onnx


@dataclass(frozen=True)
class Finding:
    """Something in a graph that TensorRT, or masklet, would not take.

    rule       name of the rule
    where      the node, input or output
    what       what is found there
    why        why that is wrong
    next_step  what to do about it
    """

    rule: str
    where: str
    what: str
    why: str
    next_step: str

    def __str__(self) -> str:
        return f"[{self.rule}] {self.where}: {self.what}: {self.why}. {self.next_step}."


def place(node: onnx.NodeProto) -> str:
    """How a finding names a node: by its name, or by what it makes."""
    return f"{node.op_type} {node.name or 'of ' + ', '.join(node.output)}"
