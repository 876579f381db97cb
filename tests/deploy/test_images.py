"""The Dockerfiles and compose files: linted, and their names, tags, files and ports compared with each other and with the entrypoint."""

from __future__ import annotations

import json
import re
import shutil
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
    """build.Dockerfile says nothing: it is a command that ends. Without TLS, model or frame: the same for every server."""
    (check,) = re.findall(r"^HEALTHCHECK (.*) CMD (.*)$", (DOCKER / "server.Dockerfile").read_text(), re.MULTILINE)
    options = dict(re.findall(r"--([a-z-]+)=(\d+)", check[0]))
    *words, timeout = json.loads(check[1])
    assert words == ["masklet", "probe", "localhost:8001", "--live"]
    assert int(timeout.removeprefix("--timeout-s=")) + 2 <= int(options["timeout"]), "Python has to start, too"
    started = container(overlay("cpu"))["startupProbe"]
    assert int(options["start-period"]) == started["periodSeconds"] * started["failureThreshold"], "as long as in Kubernetes"


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


def test_no_port_is_open_to_the_network_unless_asked_for() -> None:
    """None of these has TLS or authentication."""
    for service in compose()["services"].values():
        assert all(re.match(r"(127\.0\.0\.1|\$\{MASKLET_LISTEN:-127\.0\.0\.1\}):\d+:\d+$", port) for port in service["ports"]), service
    shown = "\n".join(path.read_text() for path in (*DOCKER.glob("*.Dockerfile"), *DOCKER.glob("*.md")))
    assert re.findall(r"-p (?!127\.0\.0\.1:)\S+", shown) == []


IMAGES = {
    "TRITON": "nvcr.io/nvidia/tritonserver",
    "TENSORRT": "nvcr.io/nvidia/tensorrt",
    "PROMETHEUS": "prom/prometheus",
    "GRAFANA": "grafana/grafana",
    "HAPROXY": "haproxy",
}


def test_what_is_pinned_is_a_digest_and_what_compose_pulls_takes_it() -> None:
    digests = {name: value for name, value in versions().items() if name.endswith("_DIGEST")}
    assert [*versions()] == [f"{name}_{part}" for name in IMAGES for part in ("TAG", "DIGEST")]
    assert all(re.fullmatch(r"(@sha256:[0-9a-f]{64})?", value) for value in digests.values()), digests
    pulled = {service["image"] for name, service in compose()["services"].items() if name != "server"}
    pulled.add(compose()["services"]["server"]["build"]["args"]["BASE"])
    assert pulled == {f"{IMAGES[name]}:${{{name}_TAG:?}}${{{name}_DIGEST:-}}" for name in ("TRITON", "PROMETHEUS", "GRAFANA")}


DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(("answer", "code"), [(DIGEST, 0), ("sha256:12", 1), ("", 1)], ids=["a digest", "half a digest", "nothing"])
def test_pinning_writes_what_the_registry_says_if_it_is_a_digest(tmp_path: Path, answer: str, code: int) -> None:
    for name in ("pin.sh", "versions.env"):
        shutil.copy(DOCKER / name, tmp_path)
    asked = tmp_path / "asked"
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(f"#!/bin/sh\necho \"$4\" >>{asked}\necho '{answer}'\n")
    docker.chmod(0o755)
    done = subprocess.run([tmp_path / "pin.sh"], env={"PATH": f"{docker.parent}:/usr/bin:/bin"}, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    before = (DOCKER / "versions.env").read_text()
    after = re.sub(r"_DIGEST=.*", f"_DIGEST=@{DIGEST}", before) if code == 0 else before
    assert (tmp_path / "versions.env").read_text() == after
    if code == 0:
        assert asked.read_text().split() == [f"{image}:{versions()[name + '_TAG']}" for name, image in IMAGES.items()]


def test_ports_agree_from_the_image_to_prometheus() -> None:
    exposed = re.findall(r"^EXPOSE (.*)$", (DOCKER / "server.Dockerfile").read_text(), re.MULTILINE)[0].split()
    assert exposed == ["8001", "8000", "8002"]
    assert compose()["services"]["server"]["ports"] == ["${MASKLET_LISTEN:-127.0.0.1}:8001:8001"]
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
    assert given - {"MASKLET_REPOSITORY", "MASKLET_LISTEN"} <= known  # which say what compose mounts, and where it listens


def test_every_server_with_a_gpu_has_the_same_room_for_tensors_between_models(tmp_path: Path) -> None:
    (tmp_path / "memory_attention" / "1").mkdir(parents=True)
    (tmp_path / "memory_attention" / "1" / "model.plan").touch()
    pool = command(tmp_path).split()[-1]
    assert pool.startswith("--cuda-memory-pool-byte-size=0:")
    assert compose("compose.gpu.yaml")["services"]["server"]["command"] == [pool]
    assert container(overlay("gpu"))["args"] == [pool]
