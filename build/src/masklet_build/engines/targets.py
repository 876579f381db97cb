"""GPUs that TensorRT for RTX builds for, by compute capability."""

from __future__ import annotations

from typing import Final

from masklet_build.embedded.rtx_machine import TARGETS

DEFAULT_TARGETS: Final = ("8.6", "8.9", "12.0")  # GeForce and RTX cards of the generations Ampere, Ada and Blackwell
_NOT_BUILT: Final = "which TensorRT for RTX does not build for. Take TensorRT (leave out --rtx), or PyTorch: export --for torch"
_OTHERS: Final = {
    "7.5": "Turing: the compiler refuses matrix products in float32 for it, which every variant has. Take PyTorch: export --for torch",
    "9.0": f"Hopper, {_NOT_BUILT}",
    "10.0": f"Blackwell for data centres, {_NOT_BUILT}",
    "10.3": f"Blackwell for data centres, {_NOT_BUILT}",
}


def targets_of(text: str) -> tuple[str, ...]:
    """Compute capabilities such as "8.9" from a list such as "86,89", in its order, each once. Raises ValueError that names the wrong one."""
    targets = []
    for word in text.split(","):
        digits = word.strip().removeprefix("sm_").replace(".", "")
        if not (digits.isascii() and digits.isdigit() and len(digits) in (2, 3)):
            raise ValueError(f"--sm {text}: {word!r} is no compute capability. Write it as 86 or 8.6, several as 86,89.")
        targets.append(target := f"{digits[:-1]}.{digits[-1]}")
        if target not in TARGETS:
            why = _OTHERS.get(target, f"no target of TensorRT for RTX. It has {', '.join(TARGETS)}")
            raise ValueError(f"--sm {text}: {target} is {why}.")
    return tuple(dict.fromkeys(targets))
