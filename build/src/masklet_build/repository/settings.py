"""What `assemble --set` may change, and to what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

_MOST_SECONDS = 365 * 86400


class SettingError(Exception):
    """A value cannot be. The text says what may."""


def _whole(least: int, *also: int, most: int = 2**31 - 1) -> Callable[[str], None]:
    """A whole number from `least` to `most`, or one of `also`."""

    def check(text: str) -> None:
        number = int(text) if text.isascii() and text.isdecimal() else -1
        if number not in also and not least <= number <= most:
            raise SettingError(f"{''.join(f'{one} or ' for one in also)}a whole number of at least {least}, and at most {most}")

    return check


def _seconds(text: str) -> None:
    try:
        right = 0 < float(text) <= _MOST_SECONDS
    except ValueError:
        right = False
    if not right:
        raise SettingError(f"a number of seconds above 0, and at most {_MOST_SECONDS}, a year")


def _path(text: str) -> None:
    if text and not PurePosixPath(text).is_absolute():
        raise SettingError("a path that begins with /")


def _one_of(*words: str) -> Callable[[str], None]:
    def check(text: str) -> None:
        if text not in words:
            raise SettingError(" or ".join(words))

    return check


def _filled_in(text: str) -> None:
    raise SettingError("left alone: assembly fills it in from the engines and its other options")


_NUMBER = _whole(1)
CHECKS: Mapping[str, Callable[[str], None]] = {
    "max_videos": _whole(1, most=100_000),  # Triton has four places for each
    **dict.fromkeys(("max_objects", "max_points", "max_bank_mib", "max_engine_batch"), _NUMBER),
    "max_conditioning": _whole(2, 0),
    "idle_seconds": _seconds,
    "drain_file": _path,
    **dict.fromkeys(("max_frame_side", "max_frame_pixels", "max_encoded_bytes", "max_prompt_bytes", "max_prompts", "max_mask_pixels"), _NUMBER),
    "max_state_bytes": _whole(0),
    "threads": _whole(0),
    "FORCE_CPU_ONLY_INPUT_TENSORS": _one_of("yes", "no"),
    "execution_context_allocation_strategy": _one_of("STATIC", "ON_PROFILE_CHANGE"),
    **dict.fromkeys(("variant", "image_size", "contract_version", "checkpoint_sha256", "precision"), _filled_in),
    **dict.fromkeys(("postprocess", "suffix", "runtime", "device"), _filled_in),
}


def check(name: str, value: str) -> None:
    """Raises SettingError where a parameter cannot have a value."""
    try:
        CHECKS[name](value)
    except SettingError as error:
        raise SettingError(f"{name} is {value!r}, and must be {error}.") from None
