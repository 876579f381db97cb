"""The postprocess model: its pure functions importable."""

from __future__ import annotations

import sys

from tests.fakes import loading

sys.path.append(str(loading.MODELS / "postprocess" / "1"))
