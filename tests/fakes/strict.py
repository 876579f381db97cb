"""Mocks of classes that are written in C++: as strict about names and arguments as the real ones, of which nothing can be made here.

Python knows no signatures of such methods. pybind11 writes them into the docstrings, one line for each overload, and there they are read.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any
from unittest.mock import create_autospec


def strict(module: ModuleType, cls: type, **methods: Callable[..., Any]) -> Any:
    """An instance that has the names of the class and no others. `methods` do what a test wants, called as one of the overloads says; what is not in
    them must not be called."""
    made = create_autospec(cls, instance=True, spec_set=True)
    for name in dir(cls):
        if not name.startswith("_") and callable(getattr(cls, name)):
            getattr(made, name).side_effect = _checked(module, cls, name, methods.pop(name)) if name in methods else _unexpected(cls, name)
    assert not methods, f"{cls.__name__} has no {sorted(methods)}"
    return made


def _unexpected(cls: type, name: str) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError(f"{cls.__name__}.{name} was called with {args} {kwargs}")

    return call


def _checked(module: ModuleType, cls: type, name: str, do: Callable[..., Any]) -> Callable[..., Any]:
    overloads = signatures(getattr(cls, name))

    def call(*args: Any, **kwargs: Any) -> Any:
        given = [found for signature in overloads if (found := _fits(module, signature, args, kwargs)) is not None]
        if not given:
            raise TypeError(f"{cls.__name__}.{name}({args}, {kwargs}) fits none of: {[str(one) for one in overloads]}")
        return do(*args, **kwargs)

    return call


def signatures(method: Any) -> list[inspect.Signature]:
    """The overloads of a method, without self."""
    name = method.__name__
    lines = re.findall(rf"^(?:\d+\. )?{name}\((self: .*)\) -> ", method.__doc__ or "", re.MULTILINE)
    assert lines, f"the docstring of {name} has no signature"
    return [inspect.Signature([_parameter(word) for word in _words(line)[1:]]) for line in lines]


def _words(line: str) -> list[str]:
    """The parameters of a line, split at commas that are in no brackets."""
    return [word.strip() for word in re.split(r",(?![^\[]*\])", line)]


def _parameter(word: str) -> inspect.Parameter:
    name, _, rest = word.partition(": ")
    annotation, has_default, _ = rest.partition(" = ")
    default = ... if has_default else inspect.Parameter.empty
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=annotation)


_PLAIN = {
    "str": str,
    "tuple": tuple,
    "list": list,
    "bool": bool,
    "typing.SupportsInt": int,
    "typing_extensions.Buffer": (bytes, bytearray, memoryview),
}


def _fits(module: ModuleType, signature: inspect.Signature, args: Any, kwargs: Any) -> inspect.BoundArguments | None:
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError:
        return None
    for name, value in bound.arguments.items():
        annotation = str(signature.parameters[name].annotation)
        wanted = _PLAIN.get(annotation) or getattr(module, re.split(r"\.|::", annotation)[-1], None)
        if wanted is None or not isinstance(value, wanted):
            return None
    return bound
