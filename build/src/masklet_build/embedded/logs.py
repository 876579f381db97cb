"""What runners say while they load and run engines, in Triton's log."""

from __future__ import annotations

import logging
from typing import Any

LOG = logging.getLogger("masklet.engines")


class _TritonLog(logging.Handler):
    def __init__(self, triton: Any) -> None:
        super().__init__(logging.INFO)
        self._triton = triton

    def emit(self, record: logging.LogRecord) -> None:
        say = {logging.WARNING: self._triton.log_warn, logging.ERROR: self._triton.log_error}.get(record.levelno, self._triton.log_info)
        say(self.format(record))


def tell_triton(logger: Any) -> None:
    """From now on what runners say goes to Triton's log. logger: triton_python_backend_utils.Logger."""
    for handler in [handler for handler in LOG.handlers if isinstance(handler, _TritonLog)]:
        LOG.removeHandler(handler)
    LOG.addHandler(_TritonLog(logger))
    LOG.setLevel(logging.INFO)
