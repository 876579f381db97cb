"""What callers have as a frame: what is sent of it, and the line to write where it can be meant in two ways."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from masklet import BadFrame, BadParameter
from masklet.pixels import sendable
from masklet.sources import Frame
from tests.fakes.toy_tracker import Server

RGB = np.random.default_rng(1).integers(0, 256, (24, 32, 3), np.uint8)


def source_frame(index: int) -> Frame:
    return Frame(index=index, time_s=index / 5, name=f"{index:05}", image=RGB, size=(48, 64))


def sent(server: Server, request: int = 0) -> np.ndarray:
    tensors = server.transport.requests[request].tensors
    return tensors["FRAME"].reshape(*tensors["FRAME_SIZE"][0], 3)


def test_bgr_is_turned_round(open_video):
    server = Server()
    with open_video(server) as video:
        video.track(RGB[..., ::-1], bgr=True)
        list(video.track_many([RGB[..., ::-1]], bgr=True))
    np.testing.assert_array_equal([sent(server), sent(server, 1)], [RGB, RGB])


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "CMYK"])
def test_a_pil_image_is_what_pil_shows(open_video, mode):
    image, server = Image.fromarray(RGB).convert(mode), Server()
    with open_video(server) as video:
        video.track(image)
    np.testing.assert_array_equal(sent(server), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize(
    ("frame", "line"),
    [
        pytest.param(Image.fromarray(RGB).convert("RGBA"), r'image.convert\("RGBA"\).convert\("RGB"\)', id="transparency"),
        pytest.param(Image.fromarray(np.zeros((4, 4), np.uint16)), "Scale it to uint8", id="pil_of_16_bits"),
        pytest.param(Image.fromarray(np.zeros((4, 4), np.float32)), "Scale it to uint8", id="pil_of_floats"),
        pytest.param(RGB.transpose(2, 0, 1), r"frame.transpose\(1, 2, 0\)", id="channels_first"),
        pytest.param(RGB[..., 0], r"np.repeat\(frame\[..., None\], 3, axis=2\)", id="grey"),
        pytest.param(RGB[..., :1], r"np.repeat\(frame, 3, axis=2\)", id="one_channel"),
        pytest.param(np.zeros((4, 5, 4), np.uint8), r"frame\[..., :3\]", id="rgba"),
        pytest.param(RGB / 255, r"\(frame \* 255\).round\(\).astype\(np.uint8\)", id="floats"),
        pytest.param(RGB.astype(np.uint16), r"\(frame >> 8\).astype\(np.uint8\)", id="16_bits"),
        pytest.param(RGB[None], "one by one", id="batch"),
        pytest.param("frame.jpg", r"Path\(file\).read_bytes\(\)", id="path"),
        pytest.param([[[1, 2, 3]]], r"np.asarray\(frame\)", id="list"),
    ],
)
def test_what_can_be_meant_in_two_ways_is_refused_with_the_line_to_write(frame, line):
    with pytest.raises(BadFrame, match=line):
        sendable(frame)


@pytest.mark.parametrize("frame", [b"jpeg", Image.fromarray(RGB)], ids=["bytes", "pil"])
def test_bgr_is_for_arrays(frame):
    with pytest.raises(BadFrame, match="bgr=True is for arrays"):
        sendable(frame, bgr=True)


@pytest.mark.torch
def test_a_torch_tensor_is_pixels_if_its_channels_are_last():
    torch = pytest.importorskip("torch")
    np.testing.assert_array_equal(sendable(torch.from_numpy(RGB.copy())), RGB)
    np.testing.assert_array_equal(sendable(torch.from_numpy(RGB.copy()), bgr=True), RGB[..., ::-1])
    for tensor, line in (
        (torch.zeros(3, 4, 5, dtype=torch.uint8), r"frame.permute\(1, 2, 0\)"),
        (torch.zeros(4, 5, 3), r"\(frame \* 255\).round\(\).to\(torch.uint8\)"),
        (torch.zeros(4, 5, 3, dtype=torch.bfloat16), r"to\(torch.uint8\)"),
        (torch.zeros(4, 5, dtype=torch.uint8), r"frame\[..., None\].expand\(-1, -1, 3\)"),
    ):
        with pytest.raises(BadFrame, match=line):
            sendable(tensor)


def test_a_frame_of_a_source_goes_under_its_index_and_comes_back(open_video):
    server, frames = Server(), [source_frame(0), source_frame(3)]
    with open_video(server) as video:
        results = list(video.track_many(frames))
        again = video.track(frames[1], refine=True)
    assert [result.frame for result in results] == frames
    assert again.frame is frames[1]
    assert [request.parameters.get("frame_index") for request in server.transport.requests[:3]] == [0, 3, 3]
    np.testing.assert_array_equal(sent(server, 1), RGB)


def test_the_frame_and_the_tag_come_back_with_the_result(open_video):
    frames, tag = [RGB, b"jpeg", Image.fromarray(RGB)], object()
    with open_video(Server()) as video:
        assert video.track(frames[0], tag=tag).tag is tag
        results = list(video.track_many(iter(frames)))
    assert [result.frame is frame for result, frame in zip(results, frames, strict=True)] == [True] * 3
    assert results[0].tag is None


@pytest.mark.parametrize("opened", [{}, {"resilient": True}], ids=["plain", "resilient"])
def test_a_call_says_how_its_masks_travel(open_video, opened):
    server = Server()
    with open_video(server, **opened) as video:
        video.prompt(7, points=[(1, 2)])
        results = [video.track(RGB, masks="rle"), video.track(b"jpeg", masks="none"), *video.track_many([RGB], masks="rle")]
        with pytest.raises(BadParameter, match='masks="bitmap" needs the size'):
            video.track(b"jpeg", masks="bitmap")
        with pytest.raises(BadParameter, match="other languages"):
            video.track(RGB, masks="png")
        with pytest.raises(BadParameter, match="masks is 'polygon'"):
            video.track(RGB, masks="polygon")
    assert [request.parameters.get("masks", "rle") for request in server.transport.requests[:3]] == ["rle", "none", "rle"]
    assert [result.object_ids for result in results] == [(7,)] * 3
    assert [len(results[index].rles) for index in (0, 2)] == [1, 1]


def test_numpy_integers_are_ids(open_video):
    server = Server()
    with open_video(server, video_id=np.uint32(7)) as video:
        video.prompt(np.int64(3), points=[(1, 2)])
        result = video.track(RGB, frame_index=np.int32(2))
        assert (video.video_id, type(video.video_id)) == (7, int)
        assert result.mask(np.int16(3)).shape == RGB.shape[:2]
        video.remove(np.int64(3))
    assert server.transport.requests[0].parameters["frame_index"] == 2
