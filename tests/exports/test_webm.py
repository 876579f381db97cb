"""The film with alpha, read by the decoder that knows it."""

from __future__ import annotations

import av
import numpy as np
import pytest

from masklet.cli import main
from masklet.export import ExportError, export
from masklet.sources import Frame
from tests.exports.conftest import SIZE, disc, line

TIMES = (0.0, 0.1, 0.35, 0.4)  # of variable rate


def image(index: int) -> np.ndarray:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    return np.stack([4 * rows, 3 * columns, np.full(SIZE, 40 * index)], axis=2).astype(np.uint8)


def frames(count: int = 4, size=SIZE) -> list[Frame]:
    return [Frame(index, TIMES[index], f"{index:05}", image(index)[: size[0], : size[1]], size) for index in range(count)]


def decoded(path) -> list[tuple[float, np.ndarray]]:
    """Times and RGBA pictures. FFmpeg's own decoder drops alpha, so libvpx is named."""
    found = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        codec = av.CodecContext.create("libvpx-vp9", "r")
        codec.extradata = stream.codec_context.extradata
        for packet in container.demux(stream):
            for picture in codec.decode(packet if packet.size else None):
                found.append((float(picture.pts * stream.time_base), picture.to_ndarray(format="rgba")))
    return found


def test_the_objects_are_opaque_and_the_rest_is_transparent_at_the_times_of_the_video(written, tmp_path):
    masks = {index: {1: disc(20, 20 + index, 9), 2: disc(20, 30, 9)} for index in range(4)}
    folder = written([line(index, objects, time=TIMES[index]) for index, objects in masks.items()])
    export(folder, "webm", tmp_path / "out.webm", video=frames())
    found = decoded(tmp_path / "out.webm")
    assert [time for time, _ in found] == pytest.approx(TIMES, abs=1e-3)
    for index, (_, picture) in enumerate(found):
        shown = masks[index][1] | masks[index][2]
        inside, outside = disc(20, 25 + index / 2, 6), ~disc(20, 25 + index / 2, 19)  # away from edges, which a lossy film softens
        assert picture[inside][:, 3].min() > 230
        assert picture[outside][:, 3].max() < 25
        assert ((picture[..., 3] > 127) == shown).mean() > 0.98
        assert np.abs(picture[inside][:, :3].astype(int) - image(index)[inside]).mean() < 12


def test_one_object_alone_is_cut_out(written, tmp_path):
    folder = written([line(0, {1: disc(20, 15, 9), 2: disc(20, 45, 9)})])
    export(folder, "webm", tmp_path / "out.webm", video=frames(1), objects=[2])
    ((_, picture),) = decoded(tmp_path / "out.webm")
    assert picture[20, 45, 3] > 230
    assert picture[20, 15, 3] < 25


def test_frames_without_a_result_are_left_out_and_a_short_video_is_refused(written, tmp_path):
    folder = written([line(index, {1: disc(20, 20, 9)}) for index in (1, 3)])
    assert export(folder, "webm", tmp_path / "all.webm", video=frames()).notes == ()
    assert [time for time, _ in decoded(tmp_path / "all.webm")] == pytest.approx([TIMES[1], TIMES[3]], abs=1e-3)
    with pytest.raises(ExportError, match="the video ends before 1 of the results: give the video that was tracked"):
        export(folder, "webm", tmp_path / "short.webm", video=frames(2))


def test_a_rate_takes_the_place_of_the_videos_times(written, tmp_path):
    folder = written([line(index, {1: disc(20, 20, 9)}) for index in range(4)])
    export(folder, "webm", tmp_path / "out.webm", video=frames(), fps=5)
    assert [time for time, _ in decoded(tmp_path / "out.webm")] == pytest.approx([0, 0.2, 0.4, 0.6], abs=1e-3)


def test_odd_sizes_keep_every_pixel(written, tmp_path):
    size = (47, 63)
    folder = written([line(0, {1: disc(20, 20, 9, size)}, size=size)])
    export(folder, "webm", tmp_path / "out.webm", video=frames(1, size))
    ((_, picture),) = decoded(tmp_path / "out.webm")
    assert picture.shape == (*size, 4)


def test_another_video_and_none_are_refused_and_leave_nothing(written, tmp_path):
    folder = written([line(0, {1: disc(9, 9, 4)})])
    with pytest.raises(ExportError, match="frame 0 of the video is 40 x 60, its masks 48 x 64: give the video that was tracked"):
        export(folder, "webm", tmp_path / "out.webm", video=frames(1, (40, 60)))
    with pytest.raises(ExportError, match="needs the video that was tracked: give it with --video"):
        export(folder, "webm", tmp_path / "out.webm")
    with pytest.raises(ExportError, match="the video ends before 1 of the results"):
        export(folder, "webm", tmp_path / "out.webm", video=[])
    with pytest.raises(ExportError, match=r"a file of the kind .webm, and out.mp4 is none"):
        export(folder, "webm", tmp_path / "out.mp4", video=frames(1))
    assert [path.name for path in tmp_path.iterdir()] == ["cups"]


def test_the_command_cuts_out_of_a_film(written, tmp_path):
    pytest.importorskip("masklet.sources.opening")
    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        for index in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image(index), format="rgb24")))
        container.mux(stream.encode())
    folder = written([line(index, {1: disc(20, 20, 9)}) for index in range(3)])
    assert main(["export", str(folder), "--format", "webm", "--video", str(tmp_path / "clip.mp4"), "--out", str(tmp_path / "out.webm")]) == 0
    found = decoded(tmp_path / "out.webm")
    assert [time for time, _ in found] == pytest.approx([0, 0.1, 0.2], abs=2e-3)
    assert found[0][1][20, 20, 3] > 230
