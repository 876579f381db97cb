"""Whatever a client sends, a parser answers with what it promises or with an error that the client understands."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from masklet import rle
from masklet.errors import BadPrompt, RequestError
from masklet_preprocess import frames, masks
from masklet_preprocess.limits import Limits
from masklet_preprocess.pixel_data import pixel_data
from masklet_preprocess.prompts import parse
from masklet_preprocess.resample import resize
from tests.preprocess import files, plain_resample

SIDE = 96
LIMITS = Limits(
    max_frame_side=100,
    max_frame_pixels=5000,
    max_encoded_bytes=50_000,
    max_prompt_bytes=5000,
    max_prompts=3,
    max_points=4,
    max_state_bytes=1,
    max_mask_pixels=10_000,
)
HEIGHT, WIDTH = SIZE = (40, 50)
EXAMPLES = settings(max_examples=150, deadline=None, derandomize=True, database=None)


def attempt(call, *args):
    """What the call returns, or the text of its refusal."""
    try:
        return call(*args)
    except RequestError as error:
        text = str(error)
    assert len(text) < 1000
    return text


_NOISE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
_PICTURE = Image.fromarray(_NOISE)
FILES = [
    files.file_bytes(_PICTURE, "JPEG"),
    files.as_mpo(files.file_bytes(_PICTURE, "JPEG", progressive=True)),
    files.file_bytes(_PICTURE.convert("CMYK"), "JPEG", exif=b"Exif\0\0" + bytes(30)),
    files.file_bytes(_PICTURE.quantize(16), "PNG", transparency=3),
    files.file_bytes(_PICTURE, "PNG", save_all=True, append_images=[Image.new("RGB", _PICTURE.size)]),
    files.interlaced_png(_NOISE),
    files.file_bytes(_PICTURE, "WEBP"),
    files.file_bytes(_PICTURE, "WEBP", lossless=True, save_all=True, append_images=[Image.new("RGB", _PICTURE.size)]),
]


@st.composite
def damaged_files(draw: st.DrawFn) -> bytes:
    """A real file of which bytes are others, a stretch is gone or repeated, or the end is missing; or bytes that begin like a file."""
    data = bytearray(draw(st.sampled_from(FILES)))
    if draw(st.integers(0, 5)) == 0:
        return bytes(data[: draw(st.integers(0, 30))]) + draw(st.binary(max_size=300))
    for place, byte in draw(st.lists(st.tuples(st.integers(0, len(data) - 1), st.integers(0, 255)), max_size=6)):
        data[place] = byte
    begin, length = draw(st.integers(0, len(data))), draw(st.integers(0, 200))
    return bytes(data[:begin] + data[begin : begin + length] * draw(st.integers(0, 3)) + data[begin + length :])


@EXAMPLES
@given(damaged_files())
def test_a_damaged_file_is_a_picture_or_an_error_of_ours(data):
    image = attempt(frames.from_encoded, data, LIMITS)
    if isinstance(image, Image.Image):
        assert image.width * image.height * pixel_data(data)[1] <= 24 * LIMITS.max_frame_pixels
        pixels = attempt(frames.to_model, image, 16)
        assert isinstance(pixels, str) or pixels.shape == (16, 16, 3)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from([10**400, -(10**25), 2**63]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
COORDINATES = st.tuples(st.floats(-WIDTH, 2 * WIDTH), st.floats(-HEIGHT, 2 * HEIGHT))
KNOWN = {
    "points": st.lists(COORDINATES, min_size=1, max_size=4),
    "labels": st.lists(st.integers(0, 1), min_size=1, max_size=4),
    "box": st.tuples(COORDINATES, COORDINATES).map(lambda corners: [*corners[0], *corners[1]]),
    "mask": st.fixed_dictionaries({"size": st.just(list(SIZE)), "counts": ANYTHING}),
    "append": st.booleans(),
    "clear": st.booleans(),
    "remove": st.booleans(),
}
ITEMS = st.fixed_dictionaries({"object": st.integers(-1, 3) | ANYTHING}, optional={key: values | ANYTHING for key, values in KNOWN.items()})


def check(parsed):
    """What the rest of the server relies on, if they were not refused."""
    if isinstance(parsed, str):
        return
    prompts, given = parsed
    assert [prompt.object_id for prompt in prompts if prompt.mask] == list(given)
    assert len({prompt.object_id for prompt in prompts}) == len(prompts) <= LIMITS.max_prompts
    for prompt in prompts:
        assert 0 <= prompt.object_id < 2**63
        assert len(prompt.points) == len(prompt.labels) <= LIMITS.max_points
        assert all(-SIDE <= x <= 2 * SIDE and -SIDE <= y <= 2 * SIDE for x, y in prompt.points)
        if 2 in prompt.labels:
            (left, top), (right, bottom) = prompt.points[:2]
            assert (prompt.labels[:2], left <= right, top <= bottom) == ((2, 3), True, True)


@EXAMPLES
@given(st.lists(ITEMS, max_size=4) | ANYTHING, st.booleans())
def test_any_json_is_a_list_of_sound_prompts_or_an_error_of_ours(value, framed):
    check(attempt(parse, json.dumps(value).encode(), SIZE if framed else None, LIMITS, SIDE))


@EXAMPLES
@given(st.binary(max_size=60) | st.text('[]{},:"\\u0eE+-.1tfNaI ', max_size=60).map(str.encode))
def test_any_bytes_are_prompts_or_an_error_of_ours(data):
    check(attempt(parse, data, SIZE, LIMITS, SIDE))


@EXAMPLES
@given(st.lists(st.tuples(COORDINATES, st.integers(0, 1)), min_size=1, max_size=4), st.integers(0, 2**63 - 1))
def test_points_arrive_as_they_were_given_in_pixels_of_the_model_image(clicks, object_id):
    item = {"object": object_id, "points": [point for point, _ in clicks], "labels": [label for _, label in clicks]}
    (prompt,) = parse(json.dumps([item]).encode(), SIZE, LIMITS, SIDE).prompts
    points = np.float32(item["points"]) / np.float32(SIZE[::-1]) * np.float32(SIDE)
    assert (prompt.object_id, list(prompt.points), list(prompt.labels)) == (object_id, [(x, y) for x, y in points.tolist()], item["labels"])


MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=40))


def runs(mask):
    """The run lengths of a mask, counted pixel by pixel."""
    counts, value = [0], False
    for pixel in mask.T.ravel():
        if pixel != value:
            counts, value = [*counts, 0], pixel
        counts[-1] += 1
    return counts


@EXAMPLES
@given(MASKS)
def test_run_lengths_go_round_as_text_and_as_list(mask):
    encoded = rle.encode(mask)
    np.testing.assert_array_equal(rle.decode(encoded, mask.shape), mask)
    np.testing.assert_array_equal(rle.decode({**encoded, "counts": runs(mask)}, mask.shape), mask)


COUNTS = (
    st.text(st.characters(min_codepoint=48, max_codepoint=111), max_size=40)
    | st.lists(st.integers(0, HEIGHT * WIDTH), max_size=5)
    | st.integers(0, HEIGHT * WIDTH).map(lambda first: [first, HEIGHT * WIDTH - first])
    | ANYTHING
)


@EXAMPLES
@given(COUNTS)
def test_any_counts_are_a_mask_of_that_size_or_an_error_of_ours(counts):
    mask = attempt(masks.decode, {"size": list(SIZE), "counts": counts}, SIZE, 1)
    if not isinstance(mask, str):
        assert (mask.shape, mask.dtype) == (SIZE, np.bool_)
        assert not isinstance(counts, list) or mask.sum() == sum(counts[1::2])


@st.composite
def boxed_masks(draw: st.DrawFn) -> np.ndarray:
    """A mask that is empty but for a part of it."""
    mask = np.zeros(draw(array_shapes(min_dims=2, max_dims=2, max_side=300)), dtype=np.bool_)
    part = draw(MASKS)
    top, left = (draw(st.integers(0, side - 1)) for side in mask.shape)
    inside = mask[top : top + part.shape[0], left : left + part.shape[1]]
    inside[:] = part[: inside.shape[0], : inside.shape[1]]
    return mask


@EXAMPLES
@given(boxed_masks(), st.sampled_from([1, 7, 64, 130]), st.booleans())
def test_a_mask_is_resized_to_the_bits_of_the_plain_formula(mask, side, as_logits):
    image = np.where(mask, np.float32(1024), np.float32(-1024)) if as_logits else mask
    assert resize(image, side).tobytes() == plain_resample.resize(image, side).tobytes()


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e400", "-1e999", "9" * 4000])
def test_no_number_beyond_the_frame_gets_through(literal):
    for item in (f'"points": [[1, {literal}]], "labels": [1]', f'"box": [{literal}, 1, 2, 3]'):
        with pytest.raises(BadPrompt, match=r"object 1 \(prompt 0\): [xy] is"):
            parse(f'[{{"object": 1, {item}}}]'.encode(), SIZE, LIMITS, SIDE)
