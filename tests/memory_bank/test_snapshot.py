"""A video as bytes: restored it goes on bit for bit, and nothing that is not a whole snapshot of this server is taken."""

import json
import struct

import numpy as np
import pytest

from masklet.errors import BadState, TooManyPoints, VideoLost
from masklet_bank import snapshot
from tests.fakes.bank_driver import IDENTITY, VARIANT, Client, RecordingStages, click, mask, request, service


@pytest.fixture
def stages() -> RecordingStages:
    return RecordingStages()


def tracked(held, **options) -> Client:
    """A video with three objects, prompted in three ways, some frames on."""
    client = Client(held)
    client.send(click(1, (10, 20)), mask(2), **options)
    for _ in range(9):
        client.send(**options)
    client.send(click(3, (5, 6), (7, 8)), **options)
    client.send(click(1, (9, 9)), **options)
    client.send(**options)
    return client


def taken(client: Client, **options) -> np.ndarray:
    return client.send(control=True, snapshot=True, **options)["SNAPSHOT"]


def test_a_restored_video_goes_on_bit_for_bit(stages):
    client = tracked(service(stages))
    state = taken(client)
    restored = Client(service(stages), video="another", sent=client.sent)
    restored.send(control=True, restore=state)
    for frame in range(20):
        prompts = [click(2, (4, 4))] if frame == 5 else []
        one, other = client.send(*prompts), restored.send(*prompts)
        for name in ("FRAME_INDEX", "OBJECT_IDS", "LOW", "SCORES", "IOUS"):
            assert np.array_equal(one[name], other[name])


def test_refine_works_after_a_restore(stages):
    client = tracked(service(stages))
    restored = Client(service(stages), sent=client.sent)
    restored.send(control=True, restore=taken(client))
    prompts = click(1, (30, 40), append=True)
    assert np.array_equal(client.send(prompts, refine=True, number=12)["LOW"], restored.send(prompts, refine=True, number=12)["LOW"])
    cleared = click(1, clear=True)
    assert np.array_equal(client.send(cleared, refine=True, number=12)["LOW"], restored.send(cleared, refine=True, number=12)["LOW"])


def test_a_snapshot_holds_each_array_once(stages):
    held = service(stages)
    client = tracked(held)
    assert len(taken(client)) < held.videos.ledger.held.nbytes + 20_000


def test_a_restored_video_takes_as_many_bytes_as_it_took(stages):
    client = tracked(service(stages))
    restored = Client(service(stages), sent=client.sent)
    restored.send(control=True, restore=taken(client))
    assert restored.service.videos.ledger.held.nbytes == client.service.videos.ledger.held.nbytes


def test_the_new_owner_owns_the_restored_video(stages):
    state = taken(tracked(service(stages), owner="me"), owner="me")
    restored = Client(service(stages))
    restored.send(control=True, restore=state, owner="you")
    assert restored.send(owner="you")["OBJECT_IDS"].tolist() == [1, 2, 3]


def refused(stages, state: np.ndarray, match: str = "not a whole snapshot") -> None:
    client = Client(service(stages))
    with pytest.raises(BadState, match=match):
        client.send(control=True, restore=state)
    with pytest.raises(VideoLost):
        client.send()


@pytest.mark.parametrize("length", [0.0, 0.1, 0.5, 0.999])
def test_a_truncated_snapshot_is_refused(stages, length):
    state = taken(tracked(service(stages)))
    refused(stages, state[: max(1, int(len(state) * length))])


def test_a_snapshot_with_bytes_too_many_is_refused(stages):
    refused(stages, np.concatenate([taken(tracked(service(stages))), np.zeros(3, np.uint8)]), "too many")


@pytest.mark.parametrize("key", IDENTITY)
def test_a_foreign_snapshot_is_refused(stages, key):
    refused(stages, edited(taken(tracked(service(stages))), lambda header: header["identity"].update({key: "other"})), "'other', this")


@pytest.mark.parametrize("here", [True, False])
def test_a_snapshot_moves_only_between_servers_that_do_the_same_to_masks(stages, here):
    """A key that one of both servers has nothing of, as those without an option have, is as much in the way as another value."""
    cleaning = {**IDENTITY, "postprocess": "official-cuda"}
    identities = (IDENTITY, cleaning) if here else (cleaning, IDENTITY)
    state = taken(tracked(service(stages, identity=identities[0])))
    client = Client(service(stages, identity=identities[1]))
    says = "None, this server has 'official-cuda'" if here else "'official-cuda', this server has None"
    with pytest.raises(BadState, match=f"taken with '?postprocess'? {says}. Restore it on a server of its own kind"):
        client.send(control=True, restore=state)
    same = Client(service(stages, identity=identities[0]))
    same.send(control=True, restore=state)


def test_what_a_foreign_snapshot_calls_itself_stays_short_in_the_error(stages):
    refused(stages, edited(taken(tracked(service(stages))), lambda header: header["identity"].update({"x" * 9999: "y" * 9999})), r"^.{,400}$")


def edited(state: np.ndarray, edit) -> np.ndarray:
    """The snapshot with another header."""
    data = state.tobytes()
    (length,) = struct.unpack("<Q", data[8:16])
    header = json.loads(data[16 : 16 + length])
    edit(header)
    text = json.dumps(header).encode()
    return np.frombuffer(data[:8] + struct.pack("<Q", len(text)) + text + data[16 + length :], np.uint8)


@pytest.mark.parametrize(
    "edit",
    [
        lambda header: header.pop("objects"),
        lambda header: header.update(direction=3),
        lambda header: header.update(frame=-1),
        lambda header: header.update(frame="1"),
        lambda header: header["objects"][0].update(memories=[[1, 10_000]]),
        lambda header: header["objects"][0].update(memories=header["objects"][0]["pointers"]),
        lambda header: header["objects"][0].update(last=5),
        lambda header: header["arrays"][0].__setitem__(0, "|O"),
        lambda header: header["arrays"][0].__setitem__(1, [1 << 62]),
        lambda header: header["arrays"].pop(),
        lambda header: header.update(objects=None),
    ],
    ids=range(11),
)
def test_a_damaged_header_is_refused(stages, edit):
    refused(stages, edited(taken(tracked(service(stages))), edit))


@pytest.mark.parametrize("seed", range(30))
def test_flipped_bytes_are_refused_or_harmless(stages, seed):
    state = taken(tracked(service(stages))).copy()
    rng = np.random.default_rng(seed)
    state[rng.integers(0, 4000, 5)] ^= rng.integers(1, 256, 5).astype(np.uint8)
    held = service(stages)
    (answer,) = held.answer([request(1, None, start=True, restore=state)])
    assert isinstance(answer, (dict, BadState))


def test_more_objects_than_the_server_allows_are_refused(stages):
    state = taken(tracked(service(stages)))
    client = Client(service(stages, max_objects=2))
    with pytest.raises(BadState, match="3 objects"):
        client.send(control=True, restore=state)


def test_the_limits_of_the_restoring_server_count(stages):
    state = taken(tracked(service(stages)))
    client = Client(service(stages, max_points=2))
    client.send(control=True, restore=state)
    with pytest.raises(TooManyPoints):
        client.send(click(1, (1, 1), (2, 2), (3, 3)))
    with pytest.raises(BadState, match=r"2 points .* allows 1"):
        Client(service(stages, max_points=1)).send(control=True, restore=state)


def test_dump_and_load_are_inverse(stages):
    held = service(stages)
    client = tracked(held)
    video = held.videos.find(client.video)
    state = snapshot.dump(video, IDENTITY, held.arrays)
    again = snapshot.dump(snapshot.parse(state, VARIANT, video.limits, IDENTITY).video(None, held.arrays), IDENTITY, held.arrays)
    assert np.array_equal(state, again)
