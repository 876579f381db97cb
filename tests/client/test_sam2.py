"""masklet.sam2 without a server: which frames a script means, and logits at the size of the video."""

from __future__ import annotations

import io
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image

from masklet.errors import SourceError
from masklet.sam2 import SAM2VideoPredictor, build_sam2_video_predictor, frames, masks
from masklet.sam2.frames import open_frames
from masklet_postprocess.upsample import mask_at


def jpeg(shade: int, size: tuple[int, int] = (60, 40), **options: object) -> bytes:
    """A grey picture (width, height)."""
    file = io.BytesIO()
    Image.new("RGB", size, (shade,) * 3).save(file, "JPEG", **options)
    return file.getvalue()


def film(path: Path, shades: list[int], size: tuple[int, int] = (64, 48)) -> Path:
    """An MP4 file of grey frames (width, height), key frames ten apart."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(25), options={"g": "10", "qscale": "1"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for shade in shades:
            frame = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), shade, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_a_folder_is_sorted_by_number_and_its_files_go_as_they_are(tmp_path: Path) -> None:
    for name, shade in (("2.jpg", 20), ("10.JPEG", 100), ("00001.jpg", 10)):
        (tmp_path / name).write_bytes(jpeg(shade))
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "3.png").write_bytes(b"")
    found = open_frames(str(tmp_path))
    assert (found.count, found.size) == (3, (40, 60))
    assert [found[index] for index in range(3)] == [jpeg(10), jpeg(20), jpeg(100)]


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"exif": b"Exif\0\0" + bytes(300)}, {"comment": b"x" * 1000}], ids=lambda made: "".join(made)
)
def test_the_size_stands_in_the_header_of_a_jpeg_file(options: dict, tmp_path: Path) -> None:
    (tmp_path / "0.jpg").write_bytes(jpeg(7, (1023, 257), **options))
    assert open_frames(tmp_path).size == (257, 1023)


def test_a_folder_that_official_loaders_refuse_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no images found"):
        open_frames(tmp_path)
    (tmp_path / "0.jpg").write_bytes(jpeg(1))
    (tmp_path / "1.jpg").write_bytes(jpeg(1, (61, 40)))
    with pytest.raises(NotImplementedError, match=r"1.jpg is 61 x 40, the first frame 60 x 40"):
        open_frames(tmp_path)[1]
    (tmp_path / "1.jpg").write_bytes(b"RIFF")
    with pytest.raises(ValueError, match=r"1.jpg is no JPEG file"):
        open_frames(tmp_path)[1]
    (tmp_path / "cover.jpg").write_bytes(jpeg(1))
    with pytest.raises(ValueError, match=r"cover.jpg .* not named by its number"):
        open_frames(tmp_path)
    with pytest.raises(NotImplementedError, match="neither a folder of JPEG files nor an MP4 file"):
        open_frames(tmp_path / "clip.avi")


@pytest.mark.parametrize("kept", [2**28, 3 * 48 * 64 * 3], ids=["much", "three frames"])
def test_frames_of_a_film_come_in_any_order(kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "_NEAR_BYTES", kept)
    found = open_frames(film(tmp_path / "clip.mp4", shades := [10 * index for index in range(25)]))
    assert (found.count, found.size) == (25, (48, 64))
    for index in (0, 1, 24, 23, 22, 21, 3, 4, 24, 0):
        assert abs(found[index].mean() - shades[index]) < 5
        assert sum(frame.nbytes for frame in found._near.values()) <= kept


def test_a_film_with_a_frame_that_cannot_be_decoded_is_refused_as_is_what_is_no_film(tmp_path: Path) -> None:
    path = film(tmp_path / "clip.mp4", [10 * index for index in range(25)])
    with av.open(str(path)) as container:
        at, size = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size][7]
    content = bytearray(path.read_bytes())
    content[at : at + size] = bytes(size)
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"frame 7 of .*clip.mp4 cannot be read"):
        open_frames(path)
    path.write_bytes(b"no film")
    with pytest.raises(SourceError, match="cannot be opened"):
        open_frames(path)


def test_logits_above_zero_are_the_masks_of_the_servers_postprocess() -> None:
    rng = np.random.default_rng(5)
    for size in ((216, 384), (1080, 1920), (37, 501), (16, 16)):
        low = np.float32(rng.normal(-1, 3, (64, 64)))
        low[rng.random((64, 64)) < 0.1] = 0
        placed = mask_at(low, size)
        expected = np.zeros(size, bool)
        height, width = placed.mask.shape
        expected[placed.top : placed.top + height, placed.left : placed.left + width] = placed.mask
        made = masks.resized(low, size)
        assert made.dtype == np.float32
        assert np.array_equal(made > 0, expected)


def test_the_largest_logit_has_a_pixel_and_the_others_are_pushed_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    lows = [np.array([[3, -1]], np.float32).repeat(2, 0), np.array([[2, -20]], np.float32).repeat(2, 0), None]
    made = masks.video_logits(lows, (2, 2), exclusive=True)
    assert made.shape == (3, 1, 2, 2)
    assert made[:, 0, 0].tolist() == [[3, -1], [-10, -20], [-1024, -1024]]
    assert isinstance((made[0] > 0.0).cpu(), np.ndarray)
    assert type((made[0] > 0.0).cpu().numpy()) is np.ndarray


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"ckpt_path": "sam2.1_hiera_large.pt"}, ValueError, "the weights are the server's"),
        ({"apply_postprocessing": False}, NotImplementedError, "official defaults"),
        ({"mode": "train"}, NotImplementedError, "official defaults"),
        ({"hydra_overrides_extra": ["++model.fill_hole_area=0"]}, NotImplementedError, "fill_hole_area"),
    ],
)
def test_what_would_change_the_model_is_refused(options: dict, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        build_sam2_video_predictor("localhost:1", **options)


def predictor(variant: str) -> SAM2VideoPredictor:
    """One of a server that only says what it has."""
    return SAM2VideoPredictor(SimpleNamespace(info=lambda: SimpleNamespace(variant=variant, limits=SimpleNamespace(prompted_frames=8))))


def test_a_video_shorter_than_the_pointers_reach_is_warned_of_where_they_have_a_time_code(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    (tmp_path / "0.jpg").write_bytes(jpeg(1))
    predictor("sam2_t").init_state(tmp_path)
    assert not recwarn
    with pytest.warns(UserWarning, match="has 1 frames: with fewer than 16"):
        state = predictor("sam2.1_t@256").init_state(tmp_path, offload_video_to_cpu=True, async_loading_frames=True)
    assert [state[key] for key in ("num_frames", "video_height", "video_width", "obj_ids")] == [1, 40, 60, []]
    with pytest.raises(KeyError, match="it has num_frames"):
        state["images"]


def test_sam_3_has_other_rules_and_is_refused(tmp_path: Path) -> None:
    (tmp_path / "0.jpg").write_bytes(jpeg(1))
    with pytest.raises(NotImplementedError, match=r"Use masklet\.Tracker"):
        predictor("sam3").init_state(tmp_path)
