"""What a report says of its run, in environments without torch."""

from __future__ import annotations

import os
import shlex
import sys
from datetime import datetime, timezone
from typing import Any

from masklet_build.quality import provenance

_PACKAGES = ("numpy", "tritonclient", "grpcio", "Pillow")


def facts(load: float) -> dict[str, Any]:
    """Machine, versions, command, commit, as `report.origin` writes them. load: the load average before the run began."""
    return {
        "threads": len(os.sched_getaffinity(0)),
        "load_before": round(load, 2),
        "command": shlex.join(["python", *sys.orig_argv[1:]]),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": provenance.commit(),
        "machine": provenance.machine_facts(),
        "versions": provenance.versions(_PACKAGES) | provenance.server_versions(),
    }
