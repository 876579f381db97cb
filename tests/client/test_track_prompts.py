"""Prompts of `masklet track`: on any frame, from files, from annotations."""

from __future__ import annotations

import functools
import json
import re

import numpy as np
import pytest
from PIL import Image

from masklet import BadPrompt, Tracker, rle
from masklet.masks import nearest
from masklet.testing import MockTransport
from tests.client.track_runs import SIZE, folder_of, frames_sent, lines, prompts_sent, track
from tests.fakes.toy_tracker import ToyTracker

NAMES = [f"{index:05}.jpg" for index in range(0, 40, 5)]  # every fifth frame, as in YouTube-VOS
SQUARE = np.zeros(SIZE, np.bool_)
SQUARE[10:30, 5:25] = True


@pytest.fixture
def frames(tmp_path):
    return folder_of(tmp_path / "frames", NAMES)


def test_prompts_go_with_their_frames(frames, server, tmp_path):
    assert track(frames, tmp_path / "out", "--point", "1,2", "--point", "2@3:10,20", "--point", "2@3:11,21:0", "--box", "1@6:1,2,30,40") == 0
    assert prompts_sent(server) == {
        0: [{"object": 1, "points": [[1.0, 2.0]], "labels": [1]}],
        3: [{"object": 2, "points": [[10.0, 20.0], [11.0, 21.0]], "labels": [1, 0]}],
        6: [{"object": 1, "box": [1.0, 2.0, 30.0, 40.0]}],
    }
    assert [[said["object"] for said in line["objects"]] for line in lines(tmp_path / "out")] == [[1]] * 3 + [[1, 2]] * 5


def test_frames_before_the_first_prompt_are_written_but_not_sent(frames, server, tmp_path):
    assert track(frames, tmp_path / "out", "--point", "2@3:10,20") == 0
    assert [request.parameters["frame_index"] for request in frames_sent(server)] == [3, 4, 5, 6, 7]
    assert server.requests[0].start
    assert [line["frame"] for line in lines(tmp_path / "out")] == list(range(8))
    assert [len(line["objects"]) for line in lines(tmp_path / "out")] == [0] * 3 + [1] * 5
    with Image.open(tmp_path / "out" / "masks" / "00010.png") as image:
        assert not np.asarray(image).any()


def test_a_file_of_prompts_says_all_that_the_wire_takes(frames, server, tmp_path):
    entries = [
        {"object": 7, "box": [1, 2, 30, 40]},
        {"frame": 2, "object": 300, "mask": rle.encode(SQUARE)},
        {"frame": 4, "object": 7, "points": [[5, 6]], "labels": [0], "append": True},
        {"frame": 4, "object": 300, "points": [[7, 8]], "clear": True},
        {"frame": 6, "object": 7, "remove": True},
    ]
    (tmp_path / "prompts.json").write_text(json.dumps(entries))
    assert track(frames, tmp_path / "out", "--prompts", tmp_path / "prompts.json") == 0
    assert prompts_sent(server) == {
        0: [{"object": 7, "box": [1.0, 2.0, 30.0, 40.0]}],
        2: [{"object": 300, "mask": rle.encode(SQUARE)}],
        4: [
            {"object": 7, "points": [[5.0, 6.0]], "labels": [0], "append": True},
            {"object": 300, "points": [[7.0, 8.0]], "labels": [1], "clear": True},
        ],
    }
    assert [[said["object"] for said in line["objects"]] for line in lines(tmp_path / "out")] == [[7]] * 2 + [[7, 300]] * 4 + [[300]] * 2


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param("{", r"prompts\.json cannot be read: it is no JSON, Expecting", id="no_json"),
        pytest.param('{"object": 1}', "is no list of prompts", id="no_list"),
        pytest.param("[]", "nothing to track", id="empty"),
        pytest.param('[{"points": [[1, 2]]}]', "entry 1: .* is no prompt", id="no_object"),
        pytest.param('[{"object": 1, "box": [1, 2, 3, 4]}, {"object": 1, "point": [1, 2]}]', "entry 2: unknown key 'point'", id="unknown_key"),
        pytest.param('[{"object": 1, "frame": -1, "points": [[1, 2]]}]', "frame is -1", id="frame_below_0"),
        pytest.param('[{"object": 1, "points": [[1, 2, 3]]}]', "entry 1: points must have the shape", id="three_numbers"),
        pytest.param('[{"object": 1, "mask": {"size": [2, 2], "counts": [4]}}]', "the mask is empty", id="empty_mask"),
        pytest.param('[{"object": 1, "mask": {"size": [2, 2], "counts": [5]}}]', "make 5 pixels", id="damaged_mask"),
        pytest.param('[{"object": 1, "points": [[1, 2]], "append": "yes"}]', "append is 'yes', not true or false", id="append_of_text"),
        pytest.param('[{"object": 1, "remove": true}]', "nothing to track", id="only_a_removal"),
    ],
)
def test_a_wrong_file_of_prompts_says_which_entry(content, says, frames, server, tmp_path, capsys):
    (tmp_path / "prompts.json").write_text(content)
    assert track(frames, tmp_path / "out", "--prompts", tmp_path / "prompts.json") == 1
    error = capsys.readouterr().err
    assert re.search(says, error), error
    assert server.requests == []


def test_a_missing_file_of_prompts_is_named(frames, server, tmp_path, capsys):
    assert track(frames, tmp_path / "out", "--prompts", tmp_path / "none.json") == 1
    assert f"{tmp_path / 'none.json'} cannot be read: No such file or directory\n" in capsys.readouterr().err


def annotation(file, labels):
    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette([255, 255, 255, 128, 0, 0, 0, 128, 0] + [9] * 759)
    image.save(file)


def test_an_annotation_gives_every_label_an_object(frames, server, tmp_path):
    first, later = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
    first[SQUARE], first[40:, 50:], first[0, 0] = 1, 2, 255
    later[SQUARE] = 5
    annotation(tmp_path / "00000.png", first)
    annotation(tmp_path / "any.png", later)
    assert track(frames, tmp_path / "out", "--annotation", tmp_path / "00000.png", "--annotation", f"6:{tmp_path / 'any.png'}") == 0
    assert prompts_sent(server) == {
        0: [{"object": 1, "mask": rle.encode(SQUARE)}, {"object": 2, "mask": rle.encode(first == 2)}],
        6: [{"object": 5, "mask": rle.encode(SQUARE)}],
    }


def test_an_annotation_is_for_the_frame_of_its_name(frames, server, tmp_path):
    annotation(tmp_path / "00015.png", SQUARE * 3)  # frame 3 of this folder
    annotation(tmp_path / "first.png", SQUARE * 1)
    assert track(frames, tmp_path / "out", "--annotation", tmp_path / "00015.png", "--annotation", tmp_path / "first.png") == 0
    assert {index: items[0]["object"] for index, items in prompts_sent(server).items()} == {0: 1, 3: 3}


def test_a_mask_of_another_size_is_refused_with_both(frames, server, tmp_path, capsys):
    Image.fromarray(SQUARE[:40]).save(tmp_path / "mask.png")
    assert track(frames, tmp_path / "out", "--mask", f"1@2:{tmp_path / 'mask.png'}") == 1
    assert "the mask is 64 x 40, but frame 2 is 64 x 48 (width x height)" in capsys.readouterr().err


def test_two_prompts_for_one_object_on_one_frame_are_refused(frames, server, tmp_path, capsys):
    (tmp_path / "prompts.json").write_text('[{"object": 1, "points": [[1, 2]]}]')
    assert track(frames, tmp_path / "out", "--prompts", tmp_path / "prompts.json", "--box", "1,2,3,4") == 1
    assert "object 1 has two prompts on frame 0" in capsys.readouterr().err
    assert server.requests == []


def test_a_frame_that_is_meant_by_name_and_by_index_is_one_frame(frames, server, tmp_path, capsys):
    annotation(tmp_path / "00015.png", SQUARE * 3)  # frame 3 of this folder
    assert track(frames, tmp_path / "out", "--annotation", tmp_path / "00015.png", "--point", "3@3:1,2") == 1
    assert "object 3 has two prompts on frame 3" in capsys.readouterr().err
    assert track(frames, tmp_path / "other", "--annotation", tmp_path / "00015.png", "--point", "4@3:1,2") == 0
    assert [item["object"] for item in prompts_sent(server)[3]] == [4, 3]


def test_a_prompt_behind_the_last_frame_is_told_before_anything_is_sent(frames, server, tmp_path, capsys):
    assert track(frames, tmp_path / "out", "--point", "1,2", "--point", "2@8:1,2") == 1
    assert "prompts on frame 8, but only 8 frames, from 0 to 7" in capsys.readouterr().err
    assert track(frames, tmp_path / "out", "--point", "1,2", "--point", "2@4:1,2", "--max-frames", 4) == 1
    assert server.requests == []


def test_a_prompt_on_a_damaged_frame_is_not_given_to_another(frames, server, tmp_path, capsys):
    (frames / NAMES[3]).write_bytes((frames / NAMES[3]).read_bytes()[:200])
    assert track(frames, tmp_path / "out", "--point", "1,2", "--point", "2@3:1,2") == 1
    error = capsys.readouterr().err
    assert "frame 3 has prompts but cannot be read" in error
    assert all(index == 0 for index in prompts_sent(server))


def test_a_refused_prompt_says_its_frame_and_no_number_of_a_request(frames, tmp_path, monkeypatch, capsys):
    toy = ToyTracker()

    def handler(request):
        bad = request.parameters.get("frame_index") == 3
        return BadPrompt("object 2 (prompt 0): y is 99. A number from 0 to 48.") if bad else toy(request)

    monkeypatch.setattr("masklet.cli.track.Tracker", functools.partial(Tracker, transport=MockTransport(handler)))
    assert track(frames, tmp_path / "out", "--point", "1,2", "--point", "2@3:10,99") == 1
    assert "masklet: frame 3: object 2: y is 99. A number from 0 to 48." in capsys.readouterr().err


def test_how_objects_may_overlap_goes_with_every_frame(frames, server, tmp_path):
    assert track(frames, tmp_path / "out", "--point", "1,2", "--overlap", "exclusive") == 0
    assert [request.parameters["overlap"] for request in frames_sent(server)] == ["exclusive"] * len(NAMES)


def test_with_max_side_prompts_and_masks_are_in_pixels_of_the_video(server, tmp_path):
    frames = folder_of(tmp_path / "large", ["a.png", "b.png", "c.png"], (96, 128))
    mask = np.zeros((96, 128), np.bool_)
    mask[20:60, 10:50] = True
    Image.fromarray(mask).save(tmp_path / "mask.png")
    words = ["--point", "40,20", "--box", "10,20,64,90", "--mask", f"2:{tmp_path / 'mask.png'}", "--max-side", 64]
    assert track(frames, tmp_path / "out", *words) == 0
    assert [request.tensors["FRAME_SIZE"][0].tolist() for request in frames_sent(server)] == [[48, 64]] * 3
    small = np.zeros(SIZE, np.bool_)
    small[10:30, 5:25] = True
    assert prompts_sent(server) == {
        0: [{"object": 1, "points": [[20.0, 10.0]], "labels": [1], "box": [5.0, 10.0, 32.0, 45.0]}, {"object": 2, "mask": rle.encode(small)}]
    }
    for line in lines(tmp_path / "out"):
        assert line["size"] == [96, 128]
        got = rle.decode(line["objects"][0]["mask"])
        expected = np.zeros((96, 128), np.bool_)  # of the toy: two rows, and a column that moves, of the picture that was sent
        expected[:4, 2 * line["frame"] : 2 * line["frame"] + 2] = True
        np.testing.assert_array_equal(got, expected)
        assert line["objects"][0]["box"] == [2 * line["frame"], 0, 2 * line["frame"] + 2, 4]
        with Image.open(tmp_path / "out" / "masks" / f"{line['name'][:-4]}.png") as image:
            assert image.size == (128, 96)


def test_a_mask_at_another_size_has_the_pixels_at_the_centres():
    mask = np.random.default_rng(0).random((9, 15)) < 0.5
    np.testing.assert_array_equal(nearest(mask, (3, 5)), mask[1::3, 1::3])
    np.testing.assert_array_equal(nearest(mask, (18, 30)), mask.repeat(2, axis=0).repeat(2, axis=1))
