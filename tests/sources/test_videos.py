"""Video files: upright, at their own times, in their own sizes."""

from __future__ import annotations

import itertools

import av
import numpy as np
import pytest

from masklet.sources import SourceError, open_source
from masklet.sources.order import Order
from tests.sources.drawn import CODECS, H, W, film, number, picture, turn

N = 12
# Display matrix (a, b, c, d) -> how the picture of the file is shown.
SHOWN = {
    (1, 0, 0, 1): lambda image: image,
    (0, 1, -1, 0): lambda image: np.rot90(image, -1),  # a quarter clockwise, as phones that are held upright write it
    (-1, 0, 0, -1): lambda image: np.rot90(image, 2),
    (0, -1, 1, 0): lambda image: np.rot90(image, 1),
    (-1, 0, 0, 1): np.fliplr,  # selfies
    (1, 0, 0, -1): np.flipud,
    (0, 1, 1, 0): lambda image: np.swapaxes(image, 0, 1),
    (0, -1, -1, 0): lambda image: np.swapaxes(np.rot90(image, 2), 0, 1),
}


def numbered(count):
    return [picture(index) for index in range(count)]


@pytest.mark.parametrize("matrix", SHOWN, ids=str)
def test_a_turned_or_mirrored_film_comes_upright(tmp_path, matrix):
    file = turn(film(tmp_path / "phone.mp4", numbered(3)), matrix)
    with av.open(str(file)) as container:
        stored = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with open_source(file) as source:
        frames = list(source)
    assert len(frames) == 3
    for frame, image in zip(frames, stored, strict=True):
        np.testing.assert_array_equal(frame.image, SHOWN[matrix](image))
        assert frame.size == frame.image.shape[:2] == SHOWN[matrix](image).shape[:2]
        assert frame.image.flags.c_contiguous


def test_pixels_are_those_of_the_decoder(tmp_path):
    file = film(tmp_path / "clip.mp4", numbered(N))
    with av.open(str(file)) as container, open_source(file) as source:
        assert (source.count, source.fps, source.live) == (N, 25.0, False)
        for index, (frame, decoded) in enumerate(zip(source, container.decode(video=0), strict=True)):
            np.testing.assert_array_equal(frame.image, decoded.to_ndarray(format="rgb24"))
            assert (frame.index, frame.name, frame.size, frame.arrived_s) == (index, f"{index:05}", (H, W), None)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.ts", "clip.avi", "clip.h264"])
def test_times_are_even_where_the_rate_is(tmp_path, name):
    """Also where frames are stored in another order than shown, AVI's times are those of decoding, and a bare stream has none."""
    with open_source(film(tmp_path / name, numbered(N))) as source:
        frames = list(source)
    assert [number(frame) for frame in frames] == [frame.index for frame in frames] == list(range(N))
    assert [frame.time_s for frame in frames] == pytest.approx([index / 25 for index in range(N)], abs=1e-3)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_a_film_of_variable_rate_keeps_its_times(tmp_path, name):
    times = [0, 40, 80, 1080, 1100, 1180, 1181, 3000]
    with open_source(film(tmp_path / name, numbered(len(times)), times=times)) as source:
        assert [frame.time_s for frame in source] == pytest.approx([time / 1000 for time in times], abs=6e-4)


def test_times_begin_at_the_first_frame(tmp_path):
    with open_source(film(tmp_path / "late.mkv", numbered(3), times=[700, 740, 900])) as source:
        assert [frame.time_s for frame in source] == pytest.approx([0, 0.04, 0.2], abs=1e-3)


def test_times_that_jump_back_go_on():
    order = Order(25, 0.001)
    times = []
    for pts in (0, 40, 80, 10, 50, 200):
        order.sent(pts)
        times.append(order.place(pts, key=True)[1])
    assert times[:3] == [0, 0.04, 0.08]
    assert all(later > earlier for earlier, later in itertools.pairwise(times))


def _with_cover(file, folder):
    """A film of N frames, and before it a larger picture."""
    film(folder / "clip.mkv", numbered(N))
    film(folder / "cover.mjpeg", [picture(0, 300, 400)], "mjpeg")
    with av.open(str(folder / "clip.mkv")) as clip, av.open(str(folder / "cover.mjpeg")) as art, av.open(str(file), "w") as out:
        cover = out.add_stream_from_template(art.streams.video[0])
        cover.disposition = av.stream.Disposition.attached_pic
        main = out.add_stream_from_template(clip.streams.video[0])
        for packet in itertools.chain(art.demux(video=0), clip.demux(video=0)):
            if packet.size:
                packet.stream = main if packet.stream is clip.streams.video[0] else cover
                out.mux(packet)
    if file.suffix == ".mp4":  # FFmpeg writes the picture behind the film, others before it
        data = file.read_bytes()
        track, tags = data.index(b"trak") - 4, data.index(b"udta", data.index(b"covr") - 900) - 4
        file.write_bytes(data[:track] + data[tags:] + data[track:tags])
    with av.open(str(file)) as container:
        assert (container.streams.video[0].codec_context.name, len(container.streams.video)) == ("mjpeg", 2), "the cover comes first"


@pytest.mark.parametrize("name", ["both.mp4", "both.mkv"])
def test_the_film_is_read_and_not_its_cover(tmp_path, name):
    _with_cover(tmp_path / name, tmp_path)
    with open_source(tmp_path / name) as source:
        assert [frame.image.shape for frame in source] == [(H, W, 3)] * N


def test_sizes_may_change_in_mid_video(tmp_path):
    film(tmp_path / "a.ts", numbered(5), gop=1)
    film(tmp_path / "b.ts", [picture(index, 2 * H, 2 * W) for index in range(5, 9)], gop=1)
    (tmp_path / "both.ts").write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    with open_source(tmp_path / "both.ts") as source:
        frames = list(source)
    assert [frame.size for frame in frames] == [(H, W)] * 5 + [(2 * H, 2 * W)] * 4
    assert [frame.index for frame in frames] == list(range(9))
    assert all(later.time_s > earlier.time_s for earlier, later in itertools.pairwise(frames))


@pytest.mark.parametrize("turned", [False, True])
def test_large_frames_are_scaled_and_their_size_stays_known(tmp_path, turned):
    file = film(tmp_path / "clip.mp4", numbered(2))
    if turned:
        turn(file, (0, 1, -1, 0))
    with open_source(file, max_side=80) as source:
        frame = next(source)
    assert frame.image.shape == ((80, 48, 3) if turned else (48, 80, 3))
    assert frame.size == ((W, H) if turned else (H, W))
    with open_source(file, max_side=W) as source:
        assert next(source).image.shape[:2] == frame.size


def _sound(file):
    with av.open(str(file), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        out.mux(stream.encode(sound))
        out.mux(stream.encode())


def _cut_off(file):
    film(file, numbered(N))
    file.write_bytes(file.read_bytes()[:-1000])  # the table lies at the end


def _no_frames(file):
    with av.open(str(file), "w") as out:
        stream = out.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = H, W, "yuv420p"
        out.start_encoding()


@pytest.mark.parametrize(
    ("name", "make", "says"),
    [
        pytest.param("film.mp4", lambda file: None, "cannot be opened as a video: No such file", id="missing"),
        pytest.param("film.mp4", lambda file: file.write_bytes(b""), "cannot be opened as a video: ", id="empty"),
        pytest.param("film.mp4", lambda file: file.write_text("no film\n" * 99), "cannot be opened as a video: ", id="text"),
        pytest.param("film.mp4", _cut_off, "Is it a whole film[?] An MP4 that was cut off is without its table of frames[.]$", id="cut_off"),
        pytest.param("film.wav", _sound, "holds no video, only sound", id="sound"),
        pytest.param("film.avi", _no_frames, "no frame of it could be read", id="no_frames"),
    ],
)
def test_a_file_without_frames_is_an_error(tmp_path, name, make, says):
    file = tmp_path / name
    make(file)
    with pytest.raises(SourceError, match=says), open_source(file) as source:
        list(source)


def test_a_closed_source_ends(tmp_path):
    source = open_source(film(tmp_path / "clip.mp4", numbered(N)))
    next(source)
    source.close()
    source.close()
    assert list(source) == []


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_gives_every_frame(tmp_path, codec):
    with open_source(film(tmp_path / "clip.mp4", numbered(N), codec)) as source:
        assert [number(frame) for frame in source] == list(range(N))
