"""Scripts for the official video predictor against a real server: `masklet.sam2` says with its names what a video of the client says."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from masklet import Tracker, Video, families
from masklet.sam2 import SAM2VideoPredictor, build_sam2_video_predictor
from masklet.sam2.frames import Folder
from masklet_build import nano
from masklet_build.repository.assemble import assemble
from masklet_build.serve import Server

pytestmark = pytest.mark.server

FOLDER = Path(__file__).parents[1] / "data" / "frames" / "synthetic"
FRAMES = [file.read_bytes() for file in sorted(FOLDER.glob("*.jpg"))]
CLICK = {"points": [[80, 110]], "labels": [1]}
BESIDE = {"points": [[40, 40]], "labels": [0]}
BOX = {"box": [262, 40, 338, 140]}
Masks = dict[int, np.ndarray]


@pytest.fixture(scope="module")
def url(serving_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    repository = assemble(families.NANO.name, nano.ENGINES, tmp_path_factory.mktemp("nano") / "repository")
    with Server(repository, python=serving_python, grpc_port=0, http_port=0, metrics_port=0, exit_timeout_s=1) as server:
        yield server.grpc_url


@pytest.fixture
def predictor(url: str) -> Iterator[SAM2VideoPredictor]:
    with build_sam2_video_predictor(url) as made:
        yield made


@pytest.fixture
def video(url: str) -> Iterator[Video]:
    with Tracker(url) as tracker, tracker.open() as video:
        yield video


def masks(answer: tuple) -> np.ndarray:
    """Masks (N, H, W) of an answer of the predictor."""
    return np.asarray(answer[2])[:, 0] > 0


def passed(predictor: SAM2VideoPredictor, state: object, *args: object, **options: object) -> Masks:
    """Frame -> masks (N, H, W) of a pass over the video."""
    return {answer[0]: masks(answer) for answer in predictor.propagate_in_video(state, *args, **options)}


def assert_equal(one: Masks, other: Masks) -> None:
    assert list(one) == list(other)
    assert [frame for frame in one if not np.array_equal(one[frame], other[frame])] == []


def tracked(video: Video, frames: range, **options: object) -> Masks:
    return {frame: video.track(FRAMES[frame], frame_index=frame, **options).masks for frame in frames}


def two_objects(predictor: SAM2VideoPredictor) -> object:
    state = predictor.init_state(str(FOLDER))
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    predictor.add_new_points_or_box(state, 0, 2, **BOX)
    return state


def test_the_official_notebooks_calls_run_and_give_the_servers_masks(url: str, video: Video) -> None:
    predictor = build_sam2_video_predictor(url, device="cuda")
    inference_state = predictor.init_state(video_path=str(FOLDER))
    predictor.reset_state(inference_state)
    # one object: a click, a second one, and a look at the whole video
    points, labels = np.array([[80, 110]], dtype=np.float32), np.array([1], np.int32)
    _, out_obj_ids, out_mask_logits = predictor.add_new_points_or_box(
        inference_state=inference_state, frame_idx=0, obj_id=1, points=points, labels=labels
    )
    video.prompt(1, points=points, labels=labels)
    assert out_obj_ids == [1]
    assert out_mask_logits.shape == (1, 1, 216, 384)
    assert np.array_equal((out_mask_logits[0] > 0.0).cpu().numpy(), video.track(FRAMES[0], track=False, frame_index=0).masks)
    points, labels = np.array([[80, 110], [90, 120]], dtype=np.float32), np.array([1, 1], np.int32)
    predictor.add_new_points_or_box(inference_state=inference_state, frame_idx=0, obj_id=1, points=points, labels=labels)
    video.prompt(1, points=points, labels=labels)
    video.track(FRAMES[0], track=False, frame_index=0)
    video_segments = {}
    for out_frame_idx, out_obj_ids, out_mask_logits in predictor.propagate_in_video(inference_state):
        video_segments[out_frame_idx] = {out_obj_id: (out_mask_logits[i] > 0.0).cpu().numpy() for i, out_obj_id in enumerate(out_obj_ids)}
    assert_equal({frame: segments[1] for frame, segments in video_segments.items()}, tracked(video, range(30)))
    # a box, and a box with a click
    predictor.reset_state(inference_state)
    box, points, labels = np.array([262, 40, 338, 140], dtype=np.float32), np.array([[300, 60]], dtype=np.float32), np.array([0], np.int32)
    predictor.add_new_points_or_box(inference_state=inference_state, frame_idx=0, obj_id=4, box=box)
    _, out_obj_ids, out_mask_logits = predictor.add_new_points_or_box(
        inference_state=inference_state, frame_idx=0, obj_id=4, points=points, labels=labels, box=box
    )
    assert out_obj_ids == [4]
    assert len(passed(predictor, inference_state)) == 30
    predictor.close()


def test_logits_above_zero_are_the_servers_masks_with_several_objects(predictor: SAM2VideoPredictor, video: Video) -> None:
    state = two_objects(predictor)
    video.prompt(1, **CLICK)
    video.prompt(2, **BOX)
    assert state["obj_ids"] == [1, 2]
    assert_equal(passed(predictor, state), tracked(video, range(30)))


def test_prompts_on_several_frames_in_any_order(predictor: SAM2VideoPredictor, video: Video) -> None:
    disc = np.hypot(*(np.mgrid[:216, :384] - np.array([160, 190])[:, None, None])) < 26
    state = predictor.init_state(str(FOLDER))
    predictor.add_new_points_or_box(state, 14, 2, **BOX)
    predictor.add_new_mask(state, 3, 3, disc)
    predictor.add_new_points(state, 3, 2, **CLICK)
    for frame, object_id, prompt in ((14, 2, BOX), (3, 3, {"mask": disc}), (3, 2, CLICK)):
        video.prompt(object_id, **prompt)
        video.track(FRAMES[frame], track=False, frame_index=frame)
    assert_equal(passed(predictor, state), tracked(video, range(3, 30)))


def test_points_are_added_or_replace_and_may_be_given_in_parts_of_the_video(predictor: SAM2VideoPredictor) -> None:
    both = {"points": [[80, 110], [90, 120]], "labels": [1, 0]}
    made = []
    for second in ({"points": [[90, 120]], "labels": [0], "clear_old_points": False}, both):
        state = predictor.init_state(str(FOLDER))
        predictor.add_new_points_or_box(state, 0, 1, **CLICK)
        made.append(np.asarray(predictor.add_new_points_or_box(state, 0, 1, **second)[2]))
    assert np.array_equal(*made)
    state = predictor.init_state(str(FOLDER))
    relative = [[80 / 384, 110 / 216]]
    predictor.add_new_points_or_box(state, 0, 1, relative, [1], normalize_coords=False)
    again = predictor.add_new_points_or_box(state, 0, 1, [[90 / 384, 120 / 216]], [0], clear_old_points=False, normalize_coords=False)
    assert np.allclose(made[0], np.asarray(again[2]), atol=1e-3)


@pytest.mark.parametrize("frame", [29, 13, 1])
def test_a_correction_sees_the_memory_that_its_frame_was_tracked_with(frame: int, predictor: SAM2VideoPredictor, video: Video) -> None:
    state = two_objects(predictor)
    first = passed(predictor, state)
    answer = predictor.add_new_points_or_box(state, frame, 1, **BESIDE)
    video.prompt(1, **CLICK)
    video.prompt(2, **BOX)
    tracked(video, range(frame + 1))
    video.prompt(1, **BESIDE)
    expected = video.track(FRAMES[frame], refine=True).masks
    assert not np.array_equal(expected[0], first[frame][0]), "the correction must show"
    assert np.array_equal(masks(answer), expected)
    assert_equal(passed(predictor, state, frame + 1), tracked(video, range(frame + 1, 30)))


def test_tracking_begun_anew_overwrites_a_correction_as_the_official_predictor_does(predictor: SAM2VideoPredictor) -> None:
    state = two_objects(predictor)
    first = passed(predictor, state)
    predictor.add_new_points_or_box(state, 13, 1, **BESIDE)
    assert_equal(passed(predictor, state), first)


def test_a_cleared_correction_is_not_seen_by_the_next(predictor: SAM2VideoPredictor) -> None:
    state = two_objects(predictor)
    passed(predictor, state, 0, 8)
    expected = masks(predictor.add_new_points_or_box(state, 8, 1, points=[[90, 120]], labels=[1]))
    predictor.clear_all_prompts_in_frame(state, 8, 1)
    first = masks(predictor.add_new_points_or_box(state, 8, 1, **BESIDE))
    predictor.clear_all_prompts_in_frame(state, 8, 1)
    assert not np.array_equal(first, expected)
    assert np.array_equal(masks(predictor.add_new_points_or_box(state, 8, 1, points=[[90, 120]], labels=[1])), expected)


def test_going_back_tracks_again_from_the_snapshot_before(predictor: SAM2VideoPredictor, monkeypatch: pytest.MonkeyPatch) -> None:
    state = two_objects(predictor)
    passed(predictor, state)
    sent, read = [], Folder.__getitem__
    monkeypatch.setattr(Folder, "__getitem__", lambda folder, index: sent.append(index) or read(folder, index))
    predictor.add_new_points_or_box(state, 20, 1, **BESIDE)
    assert sent == [16, 17, 18, 19, 20, 20], "from behind frame 15, the 16th tracked; the frame itself once more, with the prompt"


def test_a_correction_out_of_reach_does_not_hinder_tracking_further_on(predictor: SAM2VideoPredictor) -> None:
    """Pointers of 15 frames are read, so from frame 28 on none of frame 12."""
    state = two_objects(predictor)
    first = passed(predictor, state)
    predictor.add_new_points_or_box(state, 12, 1, **BESIDE)
    with pytest.raises(NotImplementedError, match="right after a correction"):
        passed(predictor, state, 27)
    assert_equal(passed(predictor, state, 28), {frame: first[frame] for frame in (28, 29)})


def test_reverse(predictor: SAM2VideoPredictor, video: Video) -> None:
    state = predictor.init_state(str(FOLDER))
    predictor.add_new_points_or_box(state, 20, 1, **CLICK)
    assert passed(predictor, state, 0, reverse=True) == {}
    video.prompt(1, **CLICK)
    video.track(FRAMES[20], track=False, frame_index=20)
    assert_equal(passed(predictor, state, reverse=True), tracked(video, range(20, -1, -1), reverse=True))
    with pytest.raises(NotImplementedError, match=r"frame 20 cannot be tracked forward.*second state"):
        passed(predictor, state, 20)


def test_turning_round_while_the_server_still_remembers_all(predictor: SAM2VideoPredictor, video: Video) -> None:
    """Seven frames after the prompted one, of which six memories are read on the way back; after eight the first of them is forgotten."""
    state = predictor.init_state(str(FOLDER))
    predictor.add_new_points_or_box(state, 20, 1, **CLICK)
    passed(predictor, state, 20, 8)
    with pytest.raises(NotImplementedError, match="in reverse"):
        passed(predictor, state, 20, reverse=True)
    predictor.reset_state(state)
    predictor.add_new_points_or_box(state, 20, 1, **CLICK)
    passed(predictor, state, 20, 7)
    video.prompt(1, **CLICK)
    tracked(video, range(20, 28))
    video.track(FRAMES[20], track=False, frame_index=20)
    assert_equal(passed(predictor, state, 20, reverse=True), tracked(video, range(20, -1, -1), reverse=True))


def test_an_object_that_joins_on_a_tracked_frame_and_one_that_leaves(predictor: SAM2VideoPredictor, video: Video) -> None:
    state = two_objects(predictor)
    first = passed(predictor, state)
    joined = predictor.add_new_points_or_box(state, 12, 7, points=[[190, 160]], labels=[1])
    assert joined[1] == [1, 2, 7]
    assert np.array_equal(masks(joined)[:2], first[12])
    after = passed(predictor, state, 12, 4)
    assert_equal({frame: some[:2] for frame, some in after.items()}, {frame: first[frame] for frame in range(12, 17)})
    video.prompt(7, points=[[190, 160]], labels=[1])
    assert_equal({frame: some[2:] for frame, some in after.items()}, tracked(video, range(12, 17)))
    left, updated = predictor.remove_object(state, 2)
    assert left == [1, 7]
    assert [(frame, logits.shape[0]) for frame, logits in updated] == [(0, 2)]
    assert np.array_equal(np.asarray(updated[0][1])[0, 0] > 0, first[0][0])
    assert (np.asarray(updated[0][1])[1] == -1024).all(), "object 7 has no output on frame 0"
    assert_equal({frame: some[:1] for frame, some in passed(predictor, state, 17).items()}, {frame: first[frame][:1] for frame in range(17, 30)})
    assert [*state.timeline.now.objects] == [1, 7], "the server has room again"
    assert predictor.remove_object(state, 2) == ([1, 7], [])
    with pytest.raises(RuntimeError, match="object id 2"):
        predictor.remove_object(state, 2, strict=True)
    predictor.remove_object(state, 1)
    assert predictor.remove_object(state, 7) == ([], [])
    with pytest.raises(RuntimeError, match="add inputs first"):
        passed(predictor, state)


def test_cleared_prompts_are_as_if_never_given(predictor: SAM2VideoPredictor) -> None:
    state = two_objects(predictor)
    expected = passed(predictor, state)
    predictor.reset_state(state)
    predictor.add_new_points_or_box(state, 0, 1, **BESIDE)
    predictor.add_new_points_or_box(state, 9, 1, **CLICK)
    frame, object_ids, logits = predictor.clear_all_prompts_in_frame(state, 0, 1)
    assert (frame, object_ids, np.unique(logits).tolist()) == (0, [1], [-1024])
    predictor.clear_all_prompts_in_frame(state, 9, 1, need_output=False)
    with pytest.raises(RuntimeError, match="object id 1"):
        passed(predictor, state)
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    predictor.add_new_points_or_box(state, 0, 2, **BOX)
    assert_equal(passed(predictor, state), expected)


def test_a_prompt_on_a_frame_cleared_after_tracking_sees_the_old_mask(predictor: SAM2VideoPredictor) -> None:
    """As officially: the output stays, as one of an ordinary frame (sam2_video_predictor.py:642-682, 256-263)."""
    made = []
    for clears in (True, False):
        state = predictor.init_state(str(FOLDER))
        predictor.add_new_points_or_box(state, 0, 1, **CLICK)
        if clears:
            passed(predictor, state, 0, 2)
            predictor.clear_all_prompts_in_frame(state, 0, 1)
        made.append(np.asarray(predictor.add_new_points_or_box(state, 0, 1, points=[[90, 120]], labels=[1])[2]))
    assert np.array_equal(*made)


REFUSED = [
    ("shown and thrown away", lambda p, s: p.add_new_points_or_box(s, 0, 1, **BESIDE), "throws it away"),
    ("before the first prompt", lambda p, s: p.add_new_points_or_box(s, 12, 7, **CLICK) and passed(p, s), "start_frame_idx=12"),
    ("behind a correction", lambda p, s: p.add_new_points_or_box(s, 12, 1, **BESIDE) and passed(p, s, 15), "right after a correction"),
    ("mixed passes", lambda p, s: passed(p, s, 8, reverse=True), "first prompted"),
    ("another size", lambda p, s: p.add_new_mask(s, 0, 3, np.ones((10, 10), bool)), "size of the video"),
    ("a soft mask", lambda p, s: p.add_new_mask(s, 0, 3, np.full((216, 384), 0.5)), "values between 0 and 1"),
    ("a box the wrong way", lambda p, s: p.add_new_points_or_box(s, 0, 3, box=[338, 40, 262, 140]), "first corner"),
]


@pytest.mark.parametrize(("call", "words"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_the_server_cannot_do_officially_is_refused(call, words: str, predictor: SAM2VideoPredictor) -> None:
    state = two_objects(predictor)
    passed(predictor, state, 0, 16)
    with pytest.raises(NotImplementedError, match=words):
        call(predictor, state)


def test_more_prompted_frames_than_a_server_keeps_are_refused(predictor: SAM2VideoPredictor) -> None:
    state = predictor.init_state(str(FOLDER))
    for frame in range(8):
        predictor.add_new_points_or_box(state, 3 * frame, 1, **CLICK)
    with pytest.raises(NotImplementedError, match="max_conditioning"):
        predictor.add_new_points_or_box(state, 25, 1, **CLICK)


def test_a_video_that_the_server_forgot_goes_on(predictor: SAM2VideoPredictor) -> None:
    state = two_objects(predictor)
    expected = passed(predictor, state)
    passing = iter(predictor.propagate_in_video(state))
    some = {answer[0]: masks(answer) for answer in (next(passing) for _ in range(5))}
    state.timeline._video.close()
    assert_equal({**some, **{answer[0]: masks(answer) for answer in passing}}, expected)


def test_what_a_wrong_call_left_behind_does_not_count(predictor: SAM2VideoPredictor) -> None:
    state = two_objects(predictor)
    expected = passed(predictor, state)
    predictor.reset_state(state)
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    with pytest.raises(IndexError, match="0 to 29"):
        predictor.add_new_points_or_box(state, 30, 1, **CLICK)
    with pytest.raises(Exception, match="labels must be"):
        predictor.add_new_points_or_box(state, 0, 1, [[1, 1]], [2])
    with pytest.raises(Exception, match="takes -384 to 768"):
        predictor.add_new_points_or_box(state, 0, 9, [[5000, 1]], [1])
    with pytest.raises(ValueError, match="together"):
        predictor.add_new_points_or_box(state, 0, 1, [[1, 1]])
    predictor.add_new_points_or_box(state, 0, 2, **BOX)
    assert_equal(passed(predictor, state), expected)


def test_objects_that_may_not_overlap(url: str, predictor: SAM2VideoPredictor) -> None:
    with build_sam2_video_predictor(url, hydra_overrides_extra=["++model.non_overlap_masks=true"]) as exclusive:
        made = []
        for each in (predictor, exclusive):
            state = each.init_state(str(FOLDER))
            each.add_new_points_or_box(state, 0, 1, **CLICK)
            each.add_new_points_or_box(state, 0, 2, box=[50, 80, 130, 150])
            made.append(np.asarray(next(iter(each.propagate_in_video(state)))[2]))
    free, alone = made
    both = (free > 0).all(axis=0)
    assert both.any(), "they must overlap for the test to show something"
    assert not (alone > 0).all(axis=0).any()
    assert np.array_equal(alone[0] > 0, (free[0] > 0) & (free[0] >= free[1]))


@pytest.mark.torch
def test_a_program_with_torch_gets_tensors_and_may_give_them(predictor: SAM2VideoPredictor, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setitem(sys.modules, "torch", torch)
    state = predictor.init_state(str(FOLDER))
    _, _, logits = predictor.add_new_points_or_box(state, 0, 1, points=torch.tensor([[[80.0, 110.0]]]), labels=torch.tensor([[1]], dtype=torch.int32))
    assert isinstance(logits, torch.Tensor)
    assert logits.dtype == torch.float32
    monkeypatch.delitem(sys.modules, "torch")
    again = predictor.init_state(str(FOLDER))
    _, _, plain = predictor.add_new_points_or_box(again, 0, 1, **CLICK)
    assert np.array_equal(plain.cpu().numpy(), logits.numpy())


def test_the_python_of_the_document_runs(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", (FOLDER.parents[3] / "client" / "sam2.md").read_text(), re.MULTILINE | re.DOTALL)
    assert '"localhost:8001"' in code
    (tmp_path / "frames").symlink_to(FOLDER)
    monkeypatch.chdir(tmp_path)
    seen: dict = {}
    exec(code.replace("localhost:8001", url), seen)
    assert [*seen["segments"]] == [*range(30)]
    assert {object_id: mask.shape for object_id, mask in seen["segments"][29].items()} == {1: (1, 216, 384), 2: (1, 216, 384)}
