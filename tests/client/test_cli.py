"""The command `masklet track`, from a video on disk to files on disk."""

from __future__ import annotations

import functools
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from masklet import Tracker, rle
from masklet.cli import main
from masklet.cli.arguments import parse
from masklet.cli.prompts_text import Annotation
from masklet.sources import open_source
from masklet.sources.folder import natural_order
from masklet.testing import Broken, MockTransport, Refusal
from tests.fakes.toy_grpc import serving
from tests.fakes.toy_tracker import ToyTracker, toy_mask

SIZE = (48, 64)
FRAMES = 10


def picture(index: int) -> np.ndarray:
    frame = np.full((*SIZE, 3), 60, dtype=np.uint8)
    frame[10:30, 4 * index : 4 * index + 16] = (200, 30, 40)
    return frame


@pytest.fixture(scope="session")
def clip(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with av.open(str(file), "w") as container:
        stream = container.add_stream("mpeg4", rate=12)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        for index in range(FRAMES):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(index), format="rgb24")))
        container.mux(stream.encode())
    return file


def pixels(request):
    """The frame (H, W, 3) of a request."""
    return request.tensors["FRAME"].reshape(*request.tensors["FRAME_SIZE"][0], 3)


def arguments(*words: object) -> list[str]:
    return ["track", *map(str, words), "--url", "test:1"]


def test_a_video_becomes_masks_and_an_overlay(clip, server, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(arguments(clip, "--point", "10,20", "--box", "7:1,2,30,40", "--point", "7:5,5:0", "--out", out)) == 0
    assert f"{FRAMES} frames" in capsys.readouterr().out
    assert json.loads(server.requests[0].tensors["PROMPTS"][0, 0]) == [
        {"object": 1, "points": [[10.0, 20.0]], "labels": [1]},
        {"object": 7, "points": [[5.0, 5.0]], "labels": [0], "box": [1.0, 2.0, 30.0, 40.0]},
    ]
    assert server.toy.videos == {}, "the video was ended"

    lines = [json.loads(line) for line in (out / "masks.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(FRAMES))
    for line in lines:
        assert [entry["object"] for entry in line["objects"]] == [1, 7]
        for entry in line["objects"]:
            np.testing.assert_array_equal(rle.decode(entry["mask"]), toy_mask(SIZE, line["frame"], entry["object"]))

    files = sorted((out / "masks").iterdir())
    assert [file.name for file in files] == [f"{index:05}.png" for index in range(FRAMES)]
    with Image.open(files[3]) as image:
        assert image.mode == "P"
        indices = np.asarray(image)
    np.testing.assert_array_equal(indices == 7, toy_mask(SIZE, 3, 7))
    np.testing.assert_array_equal(indices == 1, np.zeros(SIZE, dtype=bool))  # the later object covers it

    with av.open(str(out / "overlay.mp4")) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
        assert film.streams.video[0].average_rate == 12
    assert (len(frames), frames[0].shape) == (FRAMES, (*SIZE, 3))
    assert abs(frames[0][40, 40].astype(int) - 60).max() < 12, "the frame itself is in the film"


def test_frames_reach_the_server_as_they_are_in_the_file(clip, server, tmp_path):
    main(arguments(clip, "--point", "1,1", "--out", tmp_path / "out"))
    with av.open(str(clip)) as container:
        for request, frame in zip(server.requests, container.decode(video=0), strict=False):
            np.testing.assert_array_equal(pixels(request), frame.to_ndarray(format="rgb24"))


def test_a_folder_of_images_is_tracked_in_natural_order(server, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for index in (0, 2, 10):
        Image.fromarray(picture(index)[:-1, :-1]).save(folder / f"f{index}.png")  # an odd size
    (folder / "notes.txt").touch()
    Image.fromarray(toy_mask((47, 63), 5, 9)).save(tmp_path / "mask.png")
    assert main(arguments(folder, "--mask", f"3:{tmp_path / 'mask.png'}", "--out", tmp_path / "out")) == 0
    for request, index in zip(server.requests, (0, 2, 10), strict=False):
        np.testing.assert_array_equal(pixels(request), picture(index)[:-1, :-1])
    (item,) = json.loads(server.requests[0].tensors["PROMPTS"][0, 0])
    assert item == {"object": 3, "mask": rle.encode(toy_mask((47, 63), 5, 9))}
    with av.open(str(tmp_path / "out" / "overlay.mp4")) as film:
        assert (film.streams.video[0].height, film.streams.video[0].width) == (46, 62)


def test_natural_order_reads_numbers():
    names = ["10.jpg", "2.jpg", "1.jpg", "a10b2.jpg", "a10b10.jpg", "a9.jpg"]
    assert [file.name for file in natural_order(map(Path, names))] == ["1.jpg", "2.jpg", "10.jpg", "a9.jpg", "a10b2.jpg", "a10b10.jpg"]


def test_max_frames_stops_early(clip, server, tmp_path):
    assert main(arguments(clip, "--point", "1,1", "--max-frames", 4, "--out", tmp_path / "out")) == 0
    assert len(list((tmp_path / "out" / "masks").iterdir())) == 4


def test_of_one_frame_and_one_object_the_closing_lines_speak_in_the_singular(clip, server, tmp_path, capsys):
    assert main(arguments(clip, "--point", "1,1", "--max-frames", 1, "--out", tmp_path / "out")) == 0
    assert capsys.readouterr().out.startswith("1 frame: ")
    assert main(["export", str(tmp_path / "out"), "--format", "coco", "--out", str(tmp_path / "one.json")]) == 0
    assert capsys.readouterr().out == f"1 frame, 1 object: {tmp_path}/one.json\n"


def test_ctrl_c_ends_the_video_and_keeps_what_was_written(clip, server, tmp_path, capsys, monkeypatch):
    def decoded_until_ctrl_c(frames, stop):
        for index, frame in enumerate(frames):
            if index == 6:
                raise KeyboardInterrupt
            yield frame

    monkeypatch.setattr("masklet.cli.track.itertools.islice", decoded_until_ctrl_c)
    assert main(arguments(clip, "--point", "1,1", "--out", tmp_path / "out")) == 130
    assert "stopped after" in capsys.readouterr().err
    assert server.toy.videos == {}
    lines = (tmp_path / "out" / "masks.jsonl").read_text().splitlines()
    assert 1 <= len(lines) <= 6
    with av.open(str(tmp_path / "out" / "overlay.mp4")) as film:
        assert len(list(film.decode(video=0))) == len(lines)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param(["missing.mp4"], "missing.mp4 cannot be opened", id="no_file"),
        pytest.param([__file__], "cannot be opened|holds no video", id="no_video"),
        pytest.param(["."], "holds no images", id="empty_folder"),
        pytest.param(["987654"], "/dev/video987654 cannot be opened", id="no_camera"),
    ],
)
def test_a_failure_is_one_line_and_exit_code_1(words, says, server, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments(*words, "--point", "1,1", "--out", tmp_path / "out")) == 1
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("masklet: ")]
    assert any(option in line for option in says.split("|"))
    assert not (tmp_path / "out").exists()


def test_an_error_of_the_server_is_one_line_and_exit_code_1(clip, tmp_path, capfd, monkeypatch):
    toy = ToyTracker()
    transport = MockTransport(lambda request: Refusal("MASKLET_BAD_PROMPT: x is 99. In this frame x is 0 to 64.") if request.start else toy(request))
    monkeypatch.setattr("masklet.cli.track.Tracker", functools.partial(Tracker, transport=transport))
    assert main(arguments(clip, "--point", "99,1", "--out", tmp_path / "out")) == 1
    error = capfd.readouterr().err
    assert error.splitlines()[-1].startswith("masklet: x is 99. In this frame x is 0 to 64.")
    assert "Traceback" not in error


def test_a_video_goes_on_at_the_next_address_and_says_so(clip, tmp_path, capfd, monkeypatch):
    dying, toy = ToyTracker(), ToyTracker()
    mortal = MockTransport(lambda request: dying(request) if len(mortal.requests) < 5 else Broken("UNAVAILABLE Socket closed"))
    transports = {"a:1": mortal, "b:1": MockTransport(toy)}
    monkeypatch.setattr("masklet.cli.track.Tracker", functools.partial(Tracker, transport=transports))
    out = tmp_path / "out"
    assert main(["track", str(clip), "--url", "a:1", "--url", "b:1", "--point", "10,20", "--out", str(out)]) == 0
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("survived")]
    assert "broken: from a:1 to b:1 in 0." in line
    assert [json.loads(line)["frame"] for line in (out / "masks.jsonl").read_text().splitlines()] == list(range(FRAMES))
    assert toy.videos == {}


def test_results_are_not_mixed_with_older_ones(clip, server, tmp_path, capsys):
    (tmp_path / "old.txt").touch()
    assert main(arguments(clip, "--point", "1,1", "--out", tmp_path)) == 1
    assert "is not empty" in capsys.readouterr().err
    assert server.requests == []


def test_a_missing_extra_names_the_way_to_install_it(clip, server, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)  # imports of it fail
    assert main(arguments(clip, "--point", "1,1", "--out", tmp_path / "out")) == 1
    assert "pip install 'masklet[video]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param([], "nothing to track", id="no_prompt"),
        pytest.param(["--point", "1"], "'1' is not [OBJECT][@FRAME]:X,Y[:LABEL]", id="half_a_point"),
        pytest.param(["--point", "1,2:3"], "is not [OBJECT][@FRAME]:X,Y", id="label_3"),
        pytest.param(["--point", "0:1,2"], "object 0 is not from 1", id="object_0"),
        pytest.param(["--box", "1,2,3"], "is not [OBJECT][@FRAME]:X0,Y0,X1,Y1", id="three_sides"),
        pytest.param(["--mask", "a.png", "--point", "1,2"], "not both", id="mask_and_point"),
        pytest.param(["--box", "1,2,3,4", "--box", "1,2,3,5"], "one mask or box", id="two_boxes"),
        pytest.param(["--annotation", ""], "is not [FRAME:]FILE", id="no_annotation"),
        pytest.param(["--point", "1,2", "--max-frames", "0"], "not above 0", id="no_frames"),
        pytest.param(["--point", "1,2", "--fps", "nan"], "nan is no finite number", id="no_rate"),
        pytest.param(["--point", "1,2", "--root-certificates", "none.pem"], "none.pem is not there", id="no_certificate"),
        pytest.param(["--point", "1,2", "--header", "x"], "NAME=VALUE", id="half_a_header"),
    ],
)
def test_wrong_usage_is_exit_code_2(words, says, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments("clip.mp4", "--out", "out", *words))
    assert stop.value.code == 2
    assert says in capsys.readouterr().err


def test_prompts_are_collected_by_frame_and_object():
    words = ["--point", "1.5,2", "--point", "2:3,4", "--point", "2:5,6:0", "--box", "2:0,0,9,9", "--mask", "3:a:b.png", "--mask", "4:7.png"]
    words += ["--point", "2@120:7,8", "--point", "2@120:9,8:0", "--box", "@7:1,2,3,4", "--mask", "300@5:c:d.png", "--mask", "@9:8.png"]
    words += ["--annotation", "00000.png", "--annotation", "120:x.png", "--prompts", "p.json"]
    given = parse(arguments("clip.mp4", "--out", "out", *words))
    said = given.prompts
    assert (said[0, 1].points, said[0, 1].labels, said[0, 1].box) == ([[1.5, 2.0]], [1], None)
    assert (said[0, 2].points, said[0, 2].labels, said[0, 2].box) == ([[3.0, 4.0], [5.0, 6.0]], [1, 0], [0.0, 0.0, 9.0, 9.0])
    assert (said[0, 3].mask, said[0, 4].mask) == (Path("a:b.png"), Path("7.png"))
    assert (said[120, 2].points, said[120, 2].labels, said[120, 2].box) == ([[7.0, 8.0], [9.0, 8.0]], [1, 0], None)
    assert (said[7, 1].box, said[5, 300].mask, said[9, 1].mask) == ([1.0, 2.0, 3.0, 4.0], Path("c:d.png"), Path("8.png"))
    assert given.annotations == [Annotation(Path("00000.png"), None), Annotation(Path("x.png"), 120)]
    assert given.prompt_files == [Path("p.json")]
    assert parse(arguments("clip.mp4", "--out", "out", "--point", "1,1")).prompts.keys() == {(0, 1)}, "nothing is left of the call before"


def test_a_source_tells_its_length_and_rate(clip):
    with open_source(str(clip)) as source:
        assert (source.count, source.fps, source.live) == (FRAMES, 12, False)
        assert len(list(source)) == FRAMES


def test_python_dash_m_masklet_runs_over_grpc(clip, tmp_path):
    with serving(ToyTracker()) as (url, servicer, _):
        command = [
            sys.executable,
            "-m",
            "masklet",
            "track",
            str(clip),
            "--url",
            url,
            "--point",
            "1,1",
            "--header",
            "X-Key=1",
            "--out",
            str(tmp_path / "out"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert servicer.headers[0]["x-key"] == "1"
    assert len(list((tmp_path / "out" / "masks").iterdir())) == FRAMES


def test_a_real_ctrl_c_ends_the_video_on_the_server(clip, tmp_path):
    toy, out = ToyTracker(), tmp_path / "out"

    def slow(request):
        time.sleep(0.2)
        return toy(request)

    # Background jobs of a shell start with SIGINT ignored, and hand that on.
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); from masklet.cli import main; sys.exit(main())"
    with serving(slow) as (url, servicer, _):
        words = [sys.executable, "-c", code, "track", clip, "--url", url, "--point", "1,1", "--out", out]
        with subprocess.Popen(list(map(str, words)), stderr=subprocess.PIPE, text=True) as process:
            deadline = time.monotonic() + 60
            while not (out / "masks" / "00002.png").exists() and time.monotonic() < deadline:
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            error = process.communicate(timeout=60)[1]
    assert process.returncode == 130, error
    assert "Traceback" not in error
    assert toy.videos == {}
    assert servicer.ended == [True]
    lines = (out / "masks.jsonl").read_text().splitlines()
    assert 2 <= len(lines) < FRAMES
    with av.open(str(out / "overlay.mp4")) as film:
        assert len(list(film.decode(video=0))) - len(lines) in (0, 1), "only the frame that was being written may be cut"


def test_help_teaches_by_examples(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["track", "--help"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.count("  masklet track ") >= 2
