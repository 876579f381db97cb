"""The Dockerfiles and compose files: linted, and their names, tags, files and ports compared with each other and with the entrypoint."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from masklet_build.repository.image import command
from tests.deploy.manifests import KUBERNETES, container, overlay
from tests.deploy.tools import ROOT, tool

DOCKER = ROOT / "docker"
DOCKERFILES = ("server.Dockerfile", "build.Dockerfile")


def versions() -> dict[str, str]:
    lines = [line for line in (DOCKER / "versions.env").read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def compose(name: str = "compose.yaml") -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DOCKER / name).read_text())
    return found


def hadolint(text: str) -> tuple[int, str]:
    done = subprocess.run([tool("hadolint"), "-"], input=text, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.programs
@pytest.mark.parametrize("name", DOCKERFILES)
def test_hadolint_finds_nothing(name: str) -> None:
    code, said = hadolint((DOCKER / name).read_text())
    assert code == 0, said


@pytest.mark.programs
def test_hadolint_finds_what_is_wrong_and_is_told_to_ignore_nothing() -> None:
    text = (DOCKER / "server.Dockerfile").read_text()
    assert "hadolint ignore" not in text + (DOCKER / "build.Dockerfile").read_text()
    code, said = hadolint(text.replace("USER 10001:10001", "USER root"))
    assert (code, "DL3002" in said) == (1, True)


@pytest.mark.parametrize(("name", "tag"), [("server.Dockerfile", "TRITON_TAG"), ("build.Dockerfile", "TENSORRT_TAG")])
def test_a_dockerfile_has_the_tag_of_the_versions(name: str, tag: str) -> None:
    (base,) = re.findall(r"^ARG BASE=(.*)$", (DOCKER / name).read_text(), re.MULTILINE)
    assert base == {"TRITON_TAG": "nvcr.io/nvidia/tritonserver:", "TENSORRT_TAG": "nvcr.io/nvidia/tensorrt:"}[tag] + versions()[tag]
    assert set(re.findall(r"^FROM (\S+)", (DOCKER / name).read_text(), re.MULTILINE)) == {"${BASE}"}


def test_plans_are_built_by_the_tensorrt_of_the_month_of_the_server() -> None:
    assert versions()["TRITON_TAG"] == versions()["TENSORRT_TAG"]


def test_every_tag_of_the_manifests_is_that_of_the_versions() -> None:
    for path in KUBERNETES.rglob("kustomization.yaml"):
        for image in yaml.safe_load(path.read_text()).get("images", []):
            assert image["newTag"] == versions()[{"masklet-server": "TRITON_TAG", "haproxy": "HAPROXY_TAG"}[image["name"]]], path


@pytest.mark.parametrize("name", DOCKERFILES)
def test_what_is_copied_exists_and_reaches_the_builder(name: str) -> None:
    """.dockerignore leaves out everything that it does not name."""
    sent = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for line in re.findall(r"^COPY (?!--from)(.*)$", (DOCKER / name).read_text(), re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert any(
                Path(source).match(pattern) or Path(source).is_relative_to(pattern) or pattern.startswith(source.rstrip("/")) for pattern in sent
            ), source


@pytest.mark.parametrize("name", DOCKERFILES)
def test_an_image_installs_what_is_locked_and_checks_its_hash(name: str) -> None:
    text = (DOCKER / name).read_text()
    installs = [step for step in re.split(r"&&|^RUN", text.replace("\\\n", ""), flags=re.MULTILINE) if "install" in step and " -r " in step]
    assert {lock for step in installs for lock in re.findall(r"-r (\S+)", step)} == {Path(lock).name for lock in re.findall(r"build/locks/\S+", text)}
    assert all("--no-deps" in step and "--require-hashes" in step for step in installs), installs
    assert "trusted" not in text.lower(), "an index whose certificate is not checked"


def test_a_server_says_whether_it_is_healthy() -> None:
    """build.Dockerfile says nothing: it is a command that ends."""
    assert re.findall(r"^HEALTHCHECK .* CMD \[\"masklet\", \"probe\",", (DOCKER / "server.Dockerfile").read_text(), re.MULTILINE)


@pytest.mark.programs
@pytest.mark.parametrize("name", ["compose.yaml", "compose.gpu.yaml"])
def test_compose_files_keep_to_the_compose_specification(name: str) -> None:
    done = subprocess.run([tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(DOCKER / name)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.programs
def test_a_misspelt_key_of_a_compose_file_is_found(tmp_path: Path) -> None:
    broken = tmp_path / "compose.yaml"
    broken.write_text((DOCKER / "compose.yaml").read_text().replace("shm_size:", "shmsize:"))
    done = subprocess.run([tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(broken)], capture_output=True, text=True)
    assert done.returncode != 0
    assert "shmsize" in done.stdout


def test_compose_mounts_files_that_exist_and_takes_its_tags_from_the_versions() -> None:
    text = (DOCKER / "compose.yaml").read_text()
    assert set(re.findall(r"\$\{(\w+_TAG):\?\}", text)) <= set(versions())
    for service in compose()["services"].values():
        assert "${" in service["image"]
        for volume in service["volumes"]:
            if volume.startswith("./"):
                assert (DOCKER / volume.split(":")[0]).is_file(), volume


def test_ports_agree_from_the_image_to_prometheus() -> None:
    exposed = re.findall(r"^EXPOSE (.*)$", (DOCKER / "server.Dockerfile").read_text(), re.MULTILINE)[0].split()
    assert exposed == ["8001", "8000", "8002"]
    assert compose()["services"]["server"]["ports"] == ["8001:8001"]
    (scrape,) = yaml.safe_load((DOCKER / "observability" / "prometheus.yaml").read_text())["scrape_configs"]
    assert scrape == {"job_name": "masklet", "static_configs": [{"targets": ["server:8002"]}]}
    deployment = next(yaml.safe_load_all((KUBERNETES / "base" / "deployment.yaml").read_text().split("---\n", 1)[1]))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert {port["name"]: str(port["containerPort"]) for port in container["ports"]} == dict(zip(("grpc", "http", "metrics"), exposed, strict=True))


@pytest.mark.parametrize("name", DOCKERFILES)
def test_the_user_of_the_image_is_that_of_the_pods(name: str) -> None:
    (user,) = re.findall(r"^USER (\d+):(\d+)$", (DOCKER / name).read_text(), re.MULTILINE)
    text = (KUBERNETES / "base" / "deployment.yaml").read_text()
    assert (f"runAsUser: {user[0]}\n" in text, f"runAsGroup: {user[1]}\n" in text) == (True, True)


def test_a_container_is_stopped_later_than_its_server_gives_up() -> None:
    grace = int(compose()["services"]["server"]["stop_grace_period"].removesuffix("s"))
    (default,) = re.findall(r'"MASKLET_EXIT_TIMEOUT_S", (\d+)\)', (DOCKER / "entrypoint.py").read_text())
    assert grace > int(default)


def test_the_variables_that_manifests_and_compose_set_are_those_of_the_entrypoint() -> None:
    known = set(re.findall(r"^(MASKLET_[A-Z_]+) ", (DOCKER / "entrypoint.py").read_text(), re.MULTILINE))  # its head; see test_entrypoint.py
    files = [*(path for path in KUBERNETES.rglob("*.yaml") if "haproxy" not in str(path)), DOCKER / "compose.yaml"]
    given = {name for path in files for name in re.findall(r"\b(MASKLET_[A-Z_]+)\b", path.read_text())}
    assert given - {"MASKLET_REPOSITORY"} <= known  # which says what compose mounts


def test_every_server_with_a_gpu_has_the_same_room_for_tensors_between_models(tmp_path: Path) -> None:
    (tmp_path / "memory_attention" / "1").mkdir(parents=True)
    (tmp_path / "memory_attention" / "1" / "model.plan").touch()
    pool = command(tmp_path).split()[-1]
    assert pool.startswith("--cuda-memory-pool-byte-size=0:")
    assert compose("compose.gpu.yaml")["services"]["server"]["command"] == [pool]
    assert container(overlay("gpu"))["args"] == [pool]
