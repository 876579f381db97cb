"""The table of the bank's metrics, and their way to Triton: a thread sends them, and without them videos are served too."""

from __future__ import annotations

import json
import re
from threading import Event

import pytest

from masklet.contract import CONTRACT_VERSION
from masklet.errors import MaskletError
from masklet.stage import METRICS, Stage
from masklet_bank import metrics
from masklet_bank.metrics import REFUSALS, TABLE, Metric
from tests.fakes import loading
from tests.fakes.bank_driver import IDENTITY, VARIANT, RecordingStages, click, request
from tests.fakes.sealing import bank_request
from tests.fakes.triton_python_backend_utils import MetricFamily


@pytest.fixture
def stages() -> RecordingStages:
    return RecordingStages()


LIMITS = {"max_videos": 4, "max_objects": 4, "max_points": 8, "max_conditioning": 8, "max_bank_mib": 64, "idle_seconds": 60}
LIMITS |= {"max_engine_batch": 8, "drain_file": ""}


@pytest.fixture
def triton():
    with loading.backend_utils() as utils:
        yield utils


def started(utils, stages, name="memory_bank"):
    """The shell of the bank with recording engines behind it."""
    module = loading.load(loading.MODELS / "memory_bank" / "1" / "model.py")
    for engine in ("mask_prompt", "memory_attention", "mask_decoder", "memory_encoder"):
        utils.InferenceRequest.models[engine] = _engine(utils, stages, engine)
    parameters = {**IDENTITY, **LIMITS, "image_size": VARIANT.image_size, "contract_version": CONTRACT_VERSION, "suffix": "", "postprocess": "none"}
    config = json.dumps({"parameters": {key: {"string_value": str(value)} for key, value in parameters.items()}})
    instance = {"model_instance_name": f"{name}_0_0", "model_instance_kind": "CPU", "model_instance_device_id": "0"}
    return loading.started(module, {"model_name": name, "model_config": config, **instance})


def _engine(utils, stages, engine):
    def answer(asked):
        out = stages.call(engine, {tensor.name(): tensor.as_numpy() for tensor in asked.inputs()})
        return utils.InferenceResponse([utils.Tensor(name, array) for name, array in out.items()])

    return answer


def wire(utils, video, number, prompts=(), *, start=False):
    """One frame as Triton hands it to the shell."""
    return bank_request(utils, request(video, number, prompts, start=start))


def calls(name: str, **labels: str) -> list[tuple[str, float]]:
    """What was done to one series."""
    (family,) = [family for family in MetricFamily.made if family.name == name]
    (series,) = [series for series in family.series if series.labels == labels]
    return series.calls


def warnings(utils) -> list[str]:
    return [message for level, message in utils.Logger.lines if level == "WARNING"]


def test_the_shell_makes_every_series_of_the_table_and_fills_them(triton, stages):
    model = started(triton, stages)
    own = MetricFamily.made[: len(TABLE)]
    made = [(family.name, family.description, family.kind) for family in own]
    assert made == [(metric.name, metric.help, metric.kind.lower()) for metric in TABLE]
    for metric, family in zip(TABLE, own, strict=True):
        assert [series.labels for series in family.series] == [{metric.label: value} if metric.label else {} for value in metric.values]
        assert all(series.buckets == (list(metric.buckets) or None) for series in family.series)
    (response,) = model.execute([wire(triton, 1, 0, [click(1, (10, 20))], start=True)])
    assert not response.has_error()
    (lost,) = model.execute([wire(triton, 2, 0)])
    assert lost.has_error()
    model.finalize()
    assert calls("masklet_videos") == [("set", 1)]
    assert calls("masklet_frames_total") == [("increment", 1)]
    assert calls("masklet_refusals_total", code="VIDEO_LOST") == [("increment", 1)]
    assert calls("masklet_engine_calls", engine="mask_decoder") == [("observe", 1)]
    assert [operation for operation, _ in calls("masklet_stage_seconds", stage="memory_bank")] == ["observe"] * 2


@pytest.mark.parametrize(("parameter", "variable", "said"), [("", "/tmp/b", "/tmp/b"), ("/tmp/a", "/tmp/b", "/tmp/a"), ("", None, None)])
def test_the_drain_file_is_the_parameters_else_the_environments_and_the_metrics_say_it(triton, stages, monkeypatch, parameter, variable, said):
    monkeypatch.setitem(LIMITS, "drain_file", parameter)
    monkeypatch.delenv("MASKLET_DRAIN_FILE", raising=False)
    if variable:
        monkeypatch.setenv("MASKLET_DRAIN_FILE", variable)
    model = started(triton, stages)
    assert model._service.settings.drain_file == (said or "")
    model.finalize()
    (family,) = [family for family in MetricFamily.made if family.name == "masklet_drain_file_info"]
    assert [(series.labels, series.calls) for series in family.series] == ([({"file": said}, [("set", 1)])] if said else [])


def test_a_bank_among_others_says_which_it_is(triton, stages):
    started(triton, stages, name="memory_bank_nano").finalize()
    of_stage = {name for name, _ in METRICS}  # they say the instance
    labels = [(family.name in of_stage, series.labels) for family in MetricFamily.made for series in family.series]
    assert all(label.get("stage" if staged else "model", "").startswith("memory_bank_nano") for staged, label in labels)
    assert len(labels) > len(TABLE)


def test_the_stage_hears_that_work_gets_on_whenever_an_engine_answered_or_failed(triton, stages, monkeypatch):
    heard = []
    monkeypatch.setattr(Stage, "got_on", lambda stage: heard.append(len(stages.calls)))
    model = started(triton, stages)
    model.execute([wire(triton, 1, 0, [click(1, (10, 20))], start=True)])
    model.finalize()
    assert heard == [*range(1, len(stages.calls) + 1), len(stages.calls)], "after each call, and at the end of the execution"
    assert len(stages.calls) >= 2


def test_the_shell_counts_the_requests_of_an_execution_that_failed_as_a_whole(triton, stages, monkeypatch):
    model = started(triton, stages)
    monkeypatch.setattr(model._service, "answer", lambda requests, respond: 1 / 0)
    responses = model.execute([wire(triton, video, 0, start=True) for video in (1, 2, 3)])
    model.finalize()
    assert all("MASKLET_SERVER_FAULT" in response.error().message() for response in responses)
    assert calls("masklet_refusals_total", code="SERVER_FAULT") == [("increment", 3)]


def test_without_custom_metrics_the_bank_serves_and_says_so_once(triton, stages, monkeypatch):
    monkeypatch.delattr(triton, "MetricFamily")
    model = started(triton, stages)
    for number in range(3):
        (response,) = model.execute([wire(triton, 1, number, [click(1, (10, 20))], start=number == 0)])
        assert not response.has_error()
    model.finalize()
    assert [words in warning for words, warning in zip(("no metrics", "no sign of life"), warnings(triton), strict=True)] == [True] * 2


def test_metrics_that_fail_later_disturb_no_video_and_no_other_metric(triton, stages):
    model = started(triton, stages)
    (broken,) = [family for family in MetricFamily.made if family.name == "masklet_frames_total"]
    broken.series[0].error = "no such metric"
    for number in range(3):
        (response,) = model.execute([wire(triton, 1, number, [click(1, (10, 20))], start=number == 0)])
        assert not response.has_error()
    model.finalize()
    assert calls("masklet_batch_requests") == [("observe", 1)] * 3
    assert [message for level, message in triton.Logger.lines if level == "WARNING"] == [
        "memory_bank: metrics are not right any more: no such metric"
    ]


def test_a_look_between_requests_that_fails_is_said_and_is_not_the_last(triton, stages, monkeypatch):
    model = started(triton, stages)
    looks, second = [], Event()

    def idle():
        looks.append(len(looks))
        if len(looks) == 1:
            raise OSError("no drain file system")
        second.set()

    monkeypatch.setattr(model._service, "idle", idle)
    assert second.wait(10)
    model.finalize()
    assert ("ERROR", "memory_bank, between requests: OSError: no drain file system") in triton.Logger.lines


def test_every_code_that_can_be_answered_has_its_series():
    classes = [MaskletError]
    for kind in classes:
        classes += kind.__subclasses__()
    assert {kind.code for kind in classes} == set(REFUSALS.values)
    assert len(classes) > 15


def test_names_follow_prometheus():
    assert len({metric.name for metric in TABLE}) == len(TABLE)
    assert set(TABLE) == {value for value in vars(metrics).values() if isinstance(value, Metric)}
    for metric in TABLE:
        assert re.fullmatch(r"masklet_[a-z_]+", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "COUNTER")
        assert not re.search(r"_(ms|us|mib|kib|milliseconds)(_|$)", metric.name)
        assert (metric.label != "") == (metric.values != ("",))
        assert list(metric.buckets) == sorted(set(metric.buckets))
        assert bool(metric.buckets) == (metric.kind == "HISTOGRAM")


def test_the_table_in_the_documents_is_the_table_in_the_code():
    text = (loading.MODELS.parent / "docker" / "operations.md").read_text()
    rows = re.findall(r"^\| `(masklet_\w+)` \| (\w+) \| ?(.*?) ?\| (.*) \|$", text, re.MULTILINE)
    table = [(metric.name, metric.kind.lower(), _label(metric), metric.help) for metric in TABLE]
    assert rows == table + [(name, kind.lower(), "stage", text) for (name, text), kind in METRICS.items()]


def _label(metric: Metric) -> str:
    """The label as the document has it, with its values where they are few."""
    return f"{metric.label}: {', '.join(metric.values)}" if 1 < len(metric.values) <= 5 else metric.label
