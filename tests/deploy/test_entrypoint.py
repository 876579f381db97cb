"""The entrypoint of the server image, as the container runs it, with a `tritonserver` that tells how it was called."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from masklet_build.serve import launcher, triton_options
from masklet_build.serve.address import Address
from tests.deploy.tools import ROOT, entrypoint

ENTRYPOINT = ROOT / "docker" / "entrypoint.py"
MIB = 1 << 20
TELLS = f"#!{sys.executable}\nimport json, os, sys\nprint(json.dumps([sys.argv[1:], os.getpid(), dict(os.environ)]))\n"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def host() -> Iterator[str]:
    """A host name of this test alone. The entrypoint looks into the real /dev/shm."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    yield name
    for file in Path("/dev/shm").glob(f"masklet_{name}*"):
        file.unlink()


@pytest.fixture
def run(tmp_path: Path, host: str) -> Run:
    """Runs it with variables and arguments."""
    triton, models = tmp_path / "bin" / "tritonserver", tmp_path / "models" / "tracker"
    triton.parent.mkdir()
    triton.write_text(TELLS)
    triton.chmod(0o755)
    models.mkdir(parents=True)
    (models / "config.pbtxt").touch()
    given = {"PATH": str(triton.parent), "HOSTNAME": host, "MASKLET_MODELS": str(models.parent), "MASKLET_DRAIN_FILE": str(tmp_path / "draining")}

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        file = entrypoint(tmp_path / "image")
        return subprocess.run([sys.executable, str(file), *arguments], env=given | variables, capture_output=True, text=True, timeout=20)

    return run


def called(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0, done.stderr
    words: list[str] = json.loads(done.stdout)[0]
    return words


def value(words: list[str], option: str) -> str:
    (found,) = [word.partition("=")[2] for word in words if word.startswith(f"{option}=")]
    return found


def test_it_becomes_tritonserver_so_that_signals_reach_it(run: Run, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, str(entrypoint(tmp_path / "image"))],
        env={"PATH": str(tmp_path / "bin"), "MASKLET_MODELS": str(tmp_path / "models")},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout
        assert json.loads(process.stdout.read())[1] == process.pid


def test_arguments_follow_its_own_options(run: Run) -> None:
    assert called(run("--log-verbose=1", "--trace-config=rate=1"))[-2:] == ["--log-verbose=1", "--trace-config=rate=1"]


def test_by_default_there_is_no_tls_and_no_trace(run: Run) -> None:
    words = called(run())
    assert not [word for word in words if "ssl" in word or "trace-config" in word]
    assert value(words, "--exit-timeout-secs") == "30"
    assert value(words, "--model-control-mode") == "none"


def test_shared_memory_and_the_drain_file_of_an_earlier_run_are_removed_and_nothing_else(run: Run, host: str, tmp_path: Path) -> None:
    prefix = module().region_prefix(host, Path("/proc/self/mountinfo").read_text())
    mine = [Path("/dev/shm") / f"{prefix}{name}" for name in ("1f", "2a")]
    other = Path("/dev/shm") / f"masklet_{host}x_1f"  # another container, where the host's IPC namespace is shared
    for file in (*mine, other, tmp_path / "draining"):
        file.write_text("left")
    done = run()
    assert f"--backend-config=python,shm-region-prefix-name={prefix}" in called(done)
    assert not any(file.exists() for file in (*mine, tmp_path / "draining"))
    assert other.exists()
    assert [line.split()[2] for line in done.stderr.splitlines() if "removed" in line] == [f"{path}," for path in (*mine, tmp_path / "draining")]


def test_containers_with_the_hosts_name_have_shared_memory_of_their_own() -> None:
    """With --network host two containers have one host name, and with --ipc host one folder: neither may remove what is the other's."""
    line = "812 790 259:2 /var/lib/docker/containers/{}/hostname /etc/hostname rw,relatime - ext4 /dev/root rw\n"
    own = [module().region_prefix("host", f"1 0 8:1 / / rw - ext4 / rw\n{line.format(container)}") for container in ("aaaa", "bbbb", "aaaa")]
    assert own[0] == own[2], "after a restart it removes what it left"
    assert len(own[0]) == len(own[1]) > len("masklet_host_")
    assert own[0] != own[1]
    assert module().region_prefix("host", "1 0 8:1 / / rw - ext4 / rw\n") == "masklet_host_"


def module() -> ModuleType:
    """The entrypoint as a module."""
    spec = importlib.util.spec_from_file_location("entrypoint", ENTRYPOINT)
    assert spec
    assert spec.loader
    made = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "triton_options", triton_options)
        spec.loader.exec_module(made)
    return made


def test_the_bank_is_told_the_file_by_which_it_drains(run: Run, tmp_path: Path) -> None:
    assert json.loads(run().stdout)[2]["MASKLET_DRAIN_FILE"] == str(tmp_path / "draining")
    assert json.loads(run(MASKLET_DRAIN_FILE="").stdout)[2]["MASKLET_DRAIN_FILE"] == f"/tmp/masklet-draining-{os.getuid()}-8001"


def test_a_drain_file_that_cannot_be_removed_is_explained_and_the_start_goes_on(run: Run, tmp_path: Path) -> None:
    (tmp_path / "draining" / "of a folder").mkdir(parents=True)
    done = run()
    assert called(done)
    assert f"{tmp_path / 'draining'} cannot be removed: Is a directory. It is the file by which a server is told to drain" in done.stderr


@pytest.mark.parametrize(("count", "mib"), [(1, 16), (3, 8), (6, 4), (9, 4)])
def test_models_begin_with_less_where_there_is_little_shared_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, count: int, mib: int) -> None:
    """In 64 MiB, Docker's default, half of which is left for requests if that can be."""
    (tmp_path / "preprocess").mkdir()
    (tmp_path / "preprocess" / "config.pbtxt").write_text(f'backend: "python"\ninstance_group {{\n  count: {count}\n}}\n')
    image = module()
    monkeypatch.setattr(os, "statvfs", lambda folder: SimpleNamespace(f_frsize=4096, f_blocks=64 * MIB // 4096, f_bavail=64 * MIB // 4096))
    stub, said = image.shared_memory(tmp_path)
    assert stub == mib * MIB
    assert "has 64 MiB" in said
    assert f"begins with {mib} MiB{', not 16' if mib < 16 else ''}, and" in said
    monkeypatch.setattr(os, "statvfs", lambda folder: SimpleNamespace(f_frsize=4096, f_blocks=2048 * MIB // 4096, f_bavail=2048 * MIB // 4096))
    assert image.shared_memory(tmp_path) == (16 * MIB, "")


def test_serve_closes_what_the_image_closes_and_gives_triton_the_same_options(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(launcher.shared_memory, "stub_bytes", lambda repository: 16 * MIB)
    made = SimpleNamespace(path=tmp_path, repository=tmp_path / "models", prefix="prefix_")
    serves = launcher.command(SimpleNamespace(triton=tmp_path), made, Address("127.0.0.1", 1, 2, 3), 30, "s3cret")
    image = called(run(MASKLET_ADMIN_KEY="s3cret"))
    own = ("-address=", "-port=", "--backend-directory", "shm-region-prefix-name", "shm-default-byte-size", "shm-growth-byte-size")
    assert [word for word in serves[1:] if not any(part in word for part in own)] == [word for word in image if not any(part in word for part in own)]
    assert "--grpc-restricted-protocol=model-repository,shared-memory,trace,logging:admin-key=s3cret" in serves


def test_administration_is_closed_with_a_key_that_nobody_knows(run: Run) -> None:
    keys = set()
    for _ in range(2):
        done = run()
        for option in ("--grpc-restricted-protocol", "--http-restricted-api"):
            closed, _, key = value(called(done), option).partition(":admin-key=")
            assert {"model-repository", "shared-memory", "trace", "logging"} <= set(closed.split(","))
            assert len(key) == 32
            keys.add(key)
            assert key not in done.stderr
        assert "inference" in value(called(done), "--http-restricted-api").split(":")[0].split(",")
        assert "inference" not in value(called(done), "--grpc-restricted-protocol").split(":")[0].split(",")
    assert len(keys) == 2


def test_an_administrator_can_have_a_key(run: Run) -> None:
    done = run(MASKLET_ADMIN_KEY="s3cret")
    assert value(called(done), "--grpc-restricted-protocol").endswith(":admin-key=s3cret")
    assert "s3cret" not in done.stderr


def test_tls_is_mutual_where_an_authority_is_given(run: Run, tmp_path: Path) -> None:
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).touch()
    words = called(run(MASKLET_TLS_DIR=str(tmp_path)))
    assert value(words, "--grpc-use-ssl") == "true"
    assert (value(words, "--grpc-server-cert"), value(words, "--grpc-server-key")) == (str(tmp_path / "tls.crt"), str(tmp_path / "tls.key"))
    (tmp_path / "ca.crt").touch()
    words = called(run(MASKLET_TLS_DIR=str(tmp_path)))
    assert value(words, "--grpc-use-ssl-mutual") == "true"
    assert value(words, "--grpc-root-cert") == str(tmp_path / "ca.crt")


def test_one_setting_switches_opentelemetry_on(run: Run) -> None:
    words = called(run(MASKLET_OTLP_URL="http://collector:4318/v1/traces"))
    assert "--trace-config=mode=opentelemetry" in words
    assert "--trace-config=opentelemetry,url=http://collector:4318/v1/traces" in words
    assert called(run(MASKLET_OTLP_URL=""))  # as compose gives it where nothing is set


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"MASKLET_MODELS": "/nowhere"}, "/nowhere, which holds no <model>/config.pbtxt"),
        ({"MASKLET_EXIT_TIMEOUT_S": "5s"}, "MASKLET_EXIT_TIMEOUT_S is '5s'"),
        ({"MASKLET_TLS_DIR": "/nowhere"}, "/nowhere/tls.crt and /nowhere/tls.key cannot be read"),
        ({"MASKLET_OTLP_URL": "collector:4317"}, "MASKLET_OTLP_URL is 'collector:4317'"),
    ],
)
def test_a_wrong_setting_is_named_and_nothing_starts(run: Run, variables: dict[str, str], said: str) -> None:
    done = run(**variables)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_models_of_an_object_store_are_left_to_triton(run: Run) -> None:
    assert value(called(run(MASKLET_MODELS="s3://bucket/repository")), "--model-repository") == "s3://bucket/repository"


def test_without_tritonserver_it_says_which_image_is_needed(run: Run) -> None:
    done = run(PATH=os.devnull)
    assert done.returncode == 127
    assert "nvcr.io/nvidia/tritonserver" in done.stderr


def test_every_variable_that_it_reads_is_explained_in_its_head() -> None:
    head, text = ENTRYPOINT.read_text().split('"""')[1], ENTRYPOINT.read_text() + Path(triton_options.__file__).read_text()
    assert set(re.findall(r"MASKLET_[A-Z_]+", text)) == set(re.findall(r"^(MASKLET_[A-Z_]+) ", head, re.MULTILINE))


def test_memory_is_given_back_as_under_masklet_build_serve_and_what_somebody_sets_is_theirs(run: Run) -> None:
    done = run(MALLOC_ARENA_MAX="16")
    environment = json.loads(done.stdout)[2]
    assert {name: environment[name] for name in triton_options.MALLOC} == triton_options.MALLOC | {"MALLOC_ARENA_MAX": "16"}


def test_masklet_build_serve_gives_triton_the_same_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "16")
    given = launcher.variables(SimpleNamespace(python=Path(sys.executable)), SimpleNamespace(path=tmp_path))
    assert {name: given.get(name) for name in triton_options.MALLOC} == triton_options.MALLOC | {"MALLOC_ARENA_MAX": "16"}
