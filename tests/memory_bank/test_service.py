"""Requests of many videos in one execution: what is batched, what fails alone, who may open a video and how it ends."""

import numpy as np
import pytest

from masklet.contract import ENVELOPE, memory_bank
from masklet.errors import BadParameter, BadRequest, BadState, MaskletError, NotOwner, ServerBusy, ServerFault, VideoLost
from masklet_bank import service as service_module
from tests.fakes import bank_driver
from tests.fakes.bank_driver import VARIANT, Client, RecordingStages, click, mask, request, service


@pytest.fixture
def stages() -> RecordingStages:
    return RecordingStages()


def begin(held, videos, *prompts):
    for video in videos:
        Client(held, video).send(*prompts, number=10 * video)


def test_objects_of_several_videos_share_one_call_of_each_engine(stages):
    held = service(stages)
    begin(held, (1, 2, 3), click(1, (10, 20)), click(2, (5, 5)))
    stages.calls.clear()
    answers = held.answer([request(video, 10 * video + 1) for video in (1, 2, 3)])
    assert [name for name, _ in stages.calls] == ["memory_attention", "mask_decoder", "memory_encoder"]
    attention = stages.calls[0][1]
    assert attention["EMBEDDING"][:, 0, 0, 0].tolist() == [11, 21, 31]
    assert attention["VIDEO"].tolist() == [0, 0, 1, 1, 2, 2]
    assert attention["MEMORY"][:, 0, 0, 0].tolist() == [10, 10, 20, 20, 30, 30]
    assert [answer["LOW"].shape[0] for answer in answers] == [2, 2, 2]


def test_a_video_among_others_gets_the_answers_that_it_gets_alone(stages):
    alone = Client(service(stages))
    expected = [alone.send(click(1, (10, 20)))["LOW"], *(alone.send()["LOW"] for _ in range(9))]
    held = service(stages)
    got = []
    for frame in range(10):
        prompts = {
            1: [click(1, (10, 20))] if frame == 0 else [],
            2: [mask(4)] if frame == 0 else [],
            3: [click(9, (1, 1), (2, 2))] if frame in (1, 5) else [],
        }
        numbers = {1: frame, 2: 100 + frame, 3: 50 + frame}
        answers = held.answer([request(video, numbers[video], prompts[video], start=frame == 0) for video in (3, 1, 2)])
        got.append(answers[1]["LOW"])
    assert all(np.array_equal(one, other) for one, other in zip(expected, got, strict=True))


def test_only_equal_shapes_share_a_call(stages):
    held = service(stages)
    young, old = Client(held, 1), Client(held, 2)
    for client, frames in ((young, 1), (old, 3)):
        client.send(click(1, (10, 20)))
        for _ in range(frames):
            client.send()
    stages.calls.clear()
    held.answer([request(1, 5), request(2, 6), request(3, 7, [click(1, (1, 1), (2, 2))], start=True)])
    assert [call["MEMORY"].shape[:2] for call in stages.named("memory_attention")] == [(1, 2), (1, 4)]
    assert sorted(call["LABELS"].shape for call in stages.named("mask_decoder")) == [(1, 3), (2, 2)]
    assert [len(call["VIDEO"]) for call in stages.named("memory_encoder")] == [3]


def test_engine_calls_keep_the_limit(stages):
    held = service(stages, engine_limit=4)
    client = Client(held)
    client.send(*(click(number, (number, 1)) for number in range(1, 11)))
    client.send()
    sizes = [len(call["VIDEO"]) for call in stages.named("memory_attention")]
    assert sizes == [4, 4, 2]


def test_a_failing_engine_call_is_tried_object_by_object(stages):
    held = service(stages)
    begin(held, (1, 2), click(1, (10, 20)))
    stages.fail, stages.fail_over = "memory_attention", 1
    answers = held.answer([request(1, 11), request(2, 21)])
    assert [answer["OBJECT_IDS"].tolist() for answer in answers] == [[1], [1]]


def test_an_engine_that_fails_costs_one_frame_and_no_video(stages):
    client = Client(service(stages))
    client.send(click(1, (10, 20)))
    before = client.send(number=1)
    stages.fail = "mask_decoder"
    with pytest.raises(ServerFault, match="mask_decoder failed"):
        client.send(number=2)
    stages.fail = None
    after = client.send(number=2)
    assert after["FRAME_INDEX"] == before["FRAME_INDEX"] + 1
    assert stages.named("memory_attention")[-1]["MEMORY"][0, :, 0, 0].tolist() == [0, 1]


def test_values_that_are_not_finite_never_reach_the_bank(stages):
    client = Client(service(stages))
    client.send(click(1, (10, 20)), number=0)
    with pytest.raises(ServerFault, match="not finite"):
        client.send(number=np.inf)
    client.send(number=1)
    assert stages.named("memory_attention")[-1]["MEMORY"][0, :, 0, 0].tolist() == [0]


@pytest.mark.parametrize("output", ["POINTER", "LOW", "SCORE", "IOU"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_no_output_that_is_kept_may_hold_a_value_that_is_not_finite(stages, output, value):
    """One object's bad value fails that frame, leaves the bank as it was, and touches no other video of the execution."""
    held = service(stages)
    begin(held, (1, 2), click(1, (10, 20)))
    state = held.answer([request(1, None, snapshot=True)])[0]["SNAPSHOT"]
    decode = stages.mask_decoder

    def spoilt(inputs):
        out = {name: array.copy() for name, array in decode(inputs).items()}
        if inputs["FEATURES"][0, 0, 0, 0] == 11:
            out[output].reshape(len(inputs["KIND"]), -1)[0, -1] = value
        return out

    stages.mask_decoder = spoilt
    answers = held.answer([request(1, 11), request(2, 21)])
    assert isinstance(answers[0], ServerFault)
    assert f"not finite: {output}" in str(answers[0])
    assert answers[1]["OBJECT_IDS"].tolist() == [1]
    assert np.array_equal(held.answer([request(1, None, snapshot=True)])[0]["SNAPSHOT"], state)


def test_a_failed_image_encoder_costs_one_frame(stages):
    client = Client(service(stages))
    client.send(click(1, (10, 20)))
    for number, error, says in ((np.nan, "", "not finite"), (1, "MASKLET_SERVER_FAULT: the image encoder failed.", "image encoder")):
        with pytest.raises(ServerFault, match=says):
            client.send(number=number, error=error)
    assert client.send()["FRAME_INDEX"].tolist() == [1]


def test_an_error_of_preprocess_is_the_answer_and_the_video_goes_on(stages):
    client = Client(service(stages))
    with pytest.raises(MaskletError) as caught:
        client.send(error="MASKLET_BAD_FRAME: not an image.")
    assert caught.value.wire() == "MASKLET_BAD_FRAME: not an image."
    assert client.send(click(1, (10, 20)))["FRAME_INDEX"].tolist() == [0]


def test_one_bad_request_leaves_the_others_of_its_execution_alone(stages):
    held = service(stages)
    begin(held, (1, 2), click(1, (10, 20)))
    answers = held.answer([request(1, 11, error="MASKLET_BAD_PARAMETER: no."), request(2, 21), request(7, 1)])
    assert isinstance(answers[0], BadParameter)
    assert answers[1]["OBJECT_IDS"].tolist() == [1]
    assert isinstance(answers[2], VideoLost)


def test_start_on_a_live_video_takes_its_place(stages):
    held = service(stages)
    Client(held).send(click(1, (10, 20)))
    answer = Client(held).send()
    assert (answer["FRAME_INDEX"].tolist(), answer["OBJECT_IDS"].tolist()) == ([0], [])
    assert len(held.videos) == 1


def test_end_frees_the_video_even_with_an_error(stages):
    held = service(stages)
    client = Client(held)
    client.send(click(1, (10, 20)))
    with pytest.raises(MaskletError):
        client.send(end=True, error="MASKLET_BAD_FRAME: x")
    assert len(held.videos) == 0
    with pytest.raises(VideoLost, match="Open a new one"):
        client.send()


def test_a_video_belongs_to_the_client_that_began_it(stages):
    held = service(stages)
    mine, other = Client(held), Client(held, began=True)
    mine.send(click(1, (10, 20)), owner="me")
    for options in ({"owner": "you"}, {}, {"owner": "you", "end": True}):
        with pytest.raises(NotOwner):
            other.send(click(2, (1, 1)), **options)
    with pytest.raises(NotOwner):
        Client(held).send(owner="you")
    answer = mine.send(owner="me")
    assert (answer["FRAME_INDEX"].tolist(), answer["OBJECT_IDS"].tolist()) == ([1], [1])


@pytest.mark.parametrize("owner", [7, "", "x" * 129], ids=["number", "empty", "too long"])
def test_a_video_begun_with_an_owner_that_nobody_can_be_is_everybodys(stages, owner):
    client = Client(service(stages))
    with pytest.raises(MaskletError):
        client.send(error="MASKLET_BAD_PARAMETER: owner", owner=owner)
    assert client.send(owner="me")["FRAME_INDEX"].tolist() == [0]


def test_a_request_needs_a_frame_or_a_command(stages):
    client = Client(service(stages))
    client.send(control=True)  # START is one
    with pytest.raises(BadRequest, match="neither a frame nor a command"):
        client.send(control=True)
    assert len(client.send(control=True, snapshot=True)["SNAPSHOT"]) > 0


def test_a_sign_of_life_ends_the_silence_of_a_video_and_changes_nothing_of_it(stages):
    held = service(stages)
    client = Client(held)
    client.send(click(1, (5, 5)))
    client.send()
    before, state, calls = held.videos.live[1], client.send(control=True, snapshot=True)["SNAPSHOT"], len(stages.calls)
    held.videos.last_used[1] = 0.0
    answer = client.send(control=True, keep_alive=True)
    assert held.videos.last_used[1] > 0
    assert (answer["FRAME_INDEX"].tolist(), answer["OBJECT_IDS"].tolist(), len(answer["SNAPSHOT"])) == ([1], [], 0)
    assert held.videos.live[1].objects == before.objects
    assert np.array_equal(client.send(control=True, snapshot=True)["SNAPSHOT"], state)
    assert len(stages.calls) == calls, "no engine ran"
    assert client.send()["FRAME_INDEX"].tolist() == [2]


def test_a_full_server_refuses_a_video_at_once_and_says_so_again(stages):
    held = service(stages, max_videos=2)
    begin(held, (1, 2))
    third = Client(held, 3)
    with pytest.raises(ServerBusy, match="2 videos are live"):
        third.send()
    with pytest.raises(VideoLost, match="refused"):
        third.send()
    Client(held, 1, began=True).send(control=True, end=True)
    assert Client(held, 3).send()["FRAME_INDEX"].tolist() == [0]


def test_the_byte_budget_refuses_objects_and_videos(stages):
    held = service(stages, max_bytes=VARIANT.object_bytes() * 3 // 2)
    client = Client(held)
    client.send(click(1, (10, 20)))
    with pytest.raises(ServerBusy, match=r"objects of this request grow by .* memories fill .* of the .* Retry in 30 s, or remove objects"):
        client.send(click(2, (5, 5)))
    assert client.send()["OBJECT_IDS"].tolist() == [1]
    with pytest.raises(ServerBusy, match="memories fill"):
        Client(held, 2).send()


def test_a_silent_video_expires(stages):
    now = [0.0]
    held = service(stages, clock=lambda: now[0], idle_seconds=60)
    quiet, busy = Client(held, 1), Client(held, 2)
    quiet.send()
    busy.send()
    now[0] = 50
    busy.send()
    now[0] = 61
    busy.send()
    assert len(held.videos) == 1
    with pytest.raises(VideoLost, match="60 s"):
        quiet.send()


class Slow(RecordingStages):
    """Engines whose every execution takes `seconds` on a clock of the test."""

    def __init__(self, now: list[float], seconds: float) -> None:
        super().__init__()
        self.now, self.seconds = now, seconds

    def memory_encoder(self, inputs):
        self.now[0] += self.seconds
        return super().memory_encoder(inputs)


def test_silence_counts_from_the_answer():
    """An execution that takes longer than idle_seconds is not followed by the end of the videos that it answered."""
    now = [0.0]
    held = service(Slow(now, 80), clock=lambda: now[0], idle_seconds=75)
    client = Client(held)
    client.send(click(1, (10, 20)))
    held.idle()
    assert client.send()["OBJECT_IDS"].tolist() == [1]
    now[0] += 74
    held.idle()
    assert len(held.videos) == 1
    now[0] += 2
    held.idle()
    assert len(held.videos) == 0


def test_a_request_that_is_there_ends_the_silence_of_its_video():
    now = [0.0]
    held = service(RecordingStages(), clock=lambda: now[0], idle_seconds=75)
    client = Client(held)
    client.send(click(1, (10, 20)))
    now[0] = 76
    assert client.send()["OBJECT_IDS"].tolist() == [1]


def test_a_request_of_another_does_not_keep_a_video_alive():
    now = [0.0]
    held = service(RecordingStages(), clock=lambda: now[0], idle_seconds=75)
    mine = Client(held)
    mine.send(owner="me")
    now[0] = 70
    with pytest.raises(NotOwner):
        Client(held, began=True).send(owner="you")
    now[0] = 80
    held.idle()
    assert len(held.videos) == 0


@pytest.mark.parametrize("videos", [2, 5])
def test_videos_of_a_server_that_takes_a_minute_for_a_frame_outlive_idle_seconds(monkeypatch, videos):
    """One after another at the image encoder: each hears of its next frame after all the others had theirs."""
    now = [1000.0]
    monkeypatch.setattr(service_module, "monotonic", lambda: now[0])
    held = service(RecordingStages(), clock=lambda: now[0], idle_seconds=75)
    clients = [Client(held, video) for video in range(1, videos + 1)]
    sent = [now[0]] * videos  # when each frame reached the server
    for frame in range(4):
        for place, client in enumerate(clients):
            for _ in range(60):
                now[0] += 1
                held.idle()
            monkeypatch.setattr(bank_driver, "monotonic", lambda place=place: sent[place])
            answer = client.send(*[click(1, (5, 5))] * (frame == 0), number=frame)
            assert answer["OBJECT_IDS"].tolist() == [1]
            sent[place] = now[0]
    now[0] += 3 * 60 * videos + 1
    held.idle()
    assert len(held.videos) == 0, "silence ends a video there too"


def test_patience_with_a_slow_server_ends_when_it_is_fast_again():
    now = [0.0]
    held = service(RecordingStages(), clock=lambda: now[0], idle_seconds=75)
    held.videos.took(1e9)
    assert held.videos.patience == 1800, "one absurd number does not keep videos for ever"
    for _ in range(64):
        held.videos.took(0.02)
    assert held.videos.patience == 75


def test_an_end_that_means_one_video_leaves_another_of_its_id_alone(stages):
    held = service(stages)
    Client(held).send(click(1, (10, 20)))
    old = held.videos.owned(1, None)
    Client(held).send(click(2, (10, 20)))
    assert not held.videos.end(1, old)
    assert list(held.videos.find(1).objects) == [2]
    assert held.videos.end(1, held.videos.owned(1, None))
    assert (len(held.videos), held.videos.ledger.taken) == (0, 0)


def test_a_refused_restore_opens_no_empty_video(stages):
    client = Client(service(stages))
    with pytest.raises(MaskletError):
        client.send(error="MASKLET_BAD_STATE: x", restore=np.zeros(1, np.uint8))
    with pytest.raises(VideoLost):
        client.send()


def test_a_restore_that_is_refused_leaves_the_live_video_of_that_id_alone(stages):
    """Damaged, or larger than what is free: a refused request changes nothing."""
    large = Client(service(stages))
    large.send(*[click(number, (5, 5)) for number in range(8)])
    state = large.send(control=True, snapshot=True)["SNAPSHOT"]
    held = service(stages, max_bytes=3 * VARIANT.object_bytes())
    client = Client(held)
    client.send(click(1, (10, 20)), owner="me")
    for damaged, error in ((state[:-5], BadState), (state, ServerBusy)):
        with pytest.raises(error):
            Client(held).send(control=True, restore=damaged, owner="me")
        assert client.send(owner="me")["OBJECT_IDS"].tolist() == [1]


def test_a_state_without_start_is_refused(stages):
    client = Client(service(stages))
    client.send()
    with pytest.raises(BadRequest, match="START"):
        client.send(restore=np.ones(4, np.uint8))


def test_every_output_of_the_contract_is_given(stages):
    answer = Client(service(stages)).send(click(1, (10, 20)))
    assert answer.pop("ENVELOPE").objects == 1
    wanted = {tensor.name: (tensor.numpy_dtype, len(tensor.dims)) for tensor in memory_bank(VARIANT).outputs if tensor != ENVELOPE}
    assert {name: (array.dtype, array.ndim) for name, array in answer.items()} == wanted


@pytest.mark.parametrize("with_it", [{"snapshot": True, "control": True}, {}], ids=["snapshot", "frame"])
def test_information_is_asked_for_alone(stages, with_it):
    client = Client(service(stages))
    client.send()
    with pytest.raises(BadRequest, match="`info` goes without"):
        client.send(info=True, **with_it)
