"""What Triton counts and clocks of each model by itself, how often memory_bank called its engines, and the CPU time of processes."""

from __future__ import annotations

import os
import re
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tritonclient.grpc import InferenceServerClient

from masklet_build.serve import Server
from masklet_build.serve.cleanup import live_processes

PHASES = ("success", "queue", "compute_input", "compute_infer", "compute_output")


@dataclass(frozen=True)
class Counts:
    """Of one model: requests answered, executions (a batch is one), and milliseconds of all requests in each of PHASES; success is the whole."""

    requests: int
    executions: int
    ms: Mapping[str, float]

    def __sub__(self, before: Counts) -> Counts:
        spent = {phase: self.ms[phase] - before.ms[phase] for phase in PHASES}
        return Counts(self.requests - before.requests, self.executions - before.executions, spent)

    def per_request(self) -> dict[str, float]:
        """Milliseconds of each phase. Triton counts an answer a moment after it was sent, so this is exact where a division by frames is not."""
        return {phase: spent / self.requests for phase, spent in self.ms.items()}


def read(client: InferenceServerClient) -> dict[str, Counts]:
    """What every model of a server has counted since it was loaded."""
    found = {}
    for model in client.get_inference_statistics().model_stats:
        ms = {phase: getattr(model.inference_stats, phase).ns / 1e6 for phase in PHASES}
        found[model.name] = Counts(model.inference_stats.success.count, model.execution_count, ms)
    return found


def between(before: Mapping[str, Counts], after: Mapping[str, Counts]) -> dict[str, Counts]:
    """What was counted from `before` to `after`, of the models that were asked."""
    found = {name: after[name] - before[name] for name in after}
    return {name: counts for name, counts in found.items() if counts.requests}


def engine_calls(server: Server) -> dict[str, int]:
    """How often memory_bank has called each engine. It sends this after its answers, so the newest may be missing."""
    with urllib.request.urlopen(server.metrics_url, timeout=5) as answer:
        text = answer.read().decode()
    return {engine: int(float(count)) for engine, count in re.findall(r'^masklet_engine_calls_sum\{engine="(\w+)"\} (\S+)$', text, re.MULTILINE)}


def server_cpu_s(server: Server) -> dict[str, float]:
    """CPU seconds so far: of tritonserver, and of the process of each python model under the model's name."""
    stubs = server.stubs()
    found: dict[str, float] = {}
    for pid in live_processes(server.pid):
        name = stubs[pid].rsplit("_", 2)[0] if pid in stubs else "tritonserver"
        found[name] = found.get(name, 0.0) + cpu_s([pid])
    return found


def cpu_s(pids: Iterable[int]) -> float:
    """CPU seconds that processes have used so far, all threads, to a hundredth."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])  # user and system; the name before may contain anything
    return ticks / os.sysconf("SC_CLK_TCK")
