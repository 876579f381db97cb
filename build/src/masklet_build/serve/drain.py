"""Where a model repository looks for the word to drain."""

from __future__ import annotations

from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2


def drain_files(repository: Path) -> set[Path]:
    """The files that the memory banks of a repository watch. A repository of other models has none."""
    files = set()
    for path in repository.glob("memory_bank*/config.pbtxt"):
        parameters = text_format.Parse(path.read_text(), model_config_pb2.ModelConfig()).parameters
        if "drain_file" in parameters and parameters["drain_file"].string_value:
            files.add(Path(parameters["drain_file"].string_value))
    return files
