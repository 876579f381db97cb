"""A checkpoint arrives whole or not at all, however the network behaves. The server is real, so is the library."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from masklet_build.checkpoints.download import transfer
from masklet_build.checkpoints.download.transfer import Transfer, fetch
from masklet_build.checkpoints.official_files import DownloadError, OfficialFile
from tests.download.server import FileServer, serving

GATE = "https://example.org/licence"


@pytest.fixture
def wanted(server: FileServer, known: OfficialFile, tmp_path: Path) -> Transfer:
    return Transfer(server.url, tmp_path / "file.pt", known, None)


def refusal(wanted: Transfer) -> str:
    with pytest.raises(DownloadError) as caught:
        fetch(wanted)
    assert not wanted.out.exists()
    return str(caught.value)


def test_the_file_arrives_under_its_name_and_nothing_else_stays(wanted, server, capfd):
    fetch(wanted)
    assert wanted.out.read_bytes() == server.content
    assert [path.name for path in wanted.out.parent.iterdir()] == ["file.pt"]
    assert "file.pt: 100%" in capfd.readouterr().err


def test_folders_on_the_way_are_made(wanted, server):
    deep = wanted._replace(out=wanted.out.parent / "a" / "b" / "file.pt")
    fetch(deep)
    assert deep.out.read_bytes() == server.content


def test_a_connection_that_breaks_is_taken_up_where_it_broke(wanted, server):
    server.drops = [1000, 50_000, 7]
    fetch(wanted)
    assert wanted.out.read_bytes() == server.content
    assert server.ranges_asked() == [None, "bytes=1000-", "bytes=51000-", "bytes=51007-"]


def test_an_interrupted_download_goes_on_in_the_next_call(wanted, server, capfd):
    wanted.part.write_bytes(server.content[:100_000])
    fetch(wanted)
    assert "  0%" not in capfd.readouterr().err, "what was there counts as progress, not as speed"
    assert wanted.out.read_bytes() == server.content
    assert server.ranges_asked() == ["bytes=100000-"]


def test_a_part_that_is_whole_already_is_not_asked_for_again(wanted, server):
    wanted.part.write_bytes(server.content)
    fetch(wanted)
    assert wanted.out.read_bytes() == server.content
    assert server.asked == []


def test_a_whole_part_of_a_file_of_unknown_size_is_recognised(wanted, server):
    wanted.part.write_bytes(server.content)
    fetch(wanted._replace(known=replace(wanted.known, size=None)))
    assert wanted.out.read_bytes() == server.content


def test_a_server_without_ranges_sends_the_file_anew(wanted, server):
    server.ranges = False
    wanted.part.write_bytes(server.content[:100_000])
    fetch(wanted)
    assert wanted.out.read_bytes() == server.content


def test_a_busy_server_is_asked_again(wanted, server):
    server.statuses = [503]
    fetch(wanted)
    assert wanted.out.read_bytes() == server.content


@pytest.mark.parametrize("start", [0, 100_000])
def test_a_file_of_another_hash_does_not_get_the_name_and_is_not_lost(wanted, server, start):
    right = server.content
    wanted.part.write_bytes(right[:start])
    server.content = right[:-1] + bytes([right[-1] ^ 1])
    message = refusal(wanted)
    assert wanted.known.sha256 in message
    other = wanted.out.with_name(f"{wanted.out.name}.other")
    assert f"They are in {other}." in message
    assert other.read_bytes() == server.content
    assert not wanted.part.exists()
    assert not wanted.out.exists()


def test_a_page_in_place_of_the_file_is_refused_before_it_overwrites_anything(wanted, server):
    wanted.part.write_bytes(server.content[:100_000])
    server.ranges, server.content = False, b"<html>please log in</html>"
    assert "offers 26 bytes, the official file has 300,000" in refusal(wanted)
    assert wanted.part.stat().st_size == 100_000


@pytest.mark.parametrize("status", [401, 403])
def test_a_gated_file_says_where_to_accept_the_licence_and_which_variable_to_set(wanted, server, status):
    gated = wanted._replace(known=replace(wanted.known, gated=GATE))
    server.statuses = [status, status]
    message = refusal(gated)
    assert f"HTTP {status}" in message
    assert GATE in message
    assert "HF_TOKEN is not set" in message
    assert "has no access to it, or the token is not valid" in refusal(gated._replace(token="hf_wrong"))


@pytest.mark.parametrize(("status", "words"), [(403, "proxy or a mirror"), (404, "The file is not there"), (410, "answered HTTP 410")])
def test_an_error_status_is_explained(wanted, server, status, words):
    server.statuses = [status]
    assert words in refusal(wanted)


def test_a_token_goes_to_the_first_host_only(wanted, server):
    with serving(server.content) as storage:
        server.location = f"http://localhost:{storage.port}/elsewhere"
        fetch(wanted._replace(token="hf_secret"))
        assert wanted.out.read_bytes() == server.content
        assert [headers.get("Authorization") for _, headers in server.asked] == ["Bearer hf_secret"]
        assert [headers.get("Authorization") for _, headers in storage.asked] == [None]


def test_a_redirected_download_goes_on_as_any_other(wanted, server):
    with serving(server.content) as storage:
        server.location, storage.drops = storage.url, [1000]
        fetch(wanted)
        assert storage.ranges_asked() == [None, "bytes=1000-"]
    assert wanted.out.read_bytes() == server.content


def test_a_disk_without_room_is_noticed_before_anything_is_written(wanted, server):
    server.promised = 1 << 60
    message = refusal(wanted._replace(known=replace(wanted.known, size=None)))
    assert "1,152,921,504,606,846,976 are to come" in message
    assert not wanted.part.exists()


def test_a_disk_that_fills_up_says_so(wanted):
    wanted.part.symlink_to("/dev/full")
    message = refusal(wanted)
    assert "is full" in message
    assert str(wanted.part) in message


def test_other_errors_of_the_disk_are_not_called_full(wanted):
    wanted.part.mkdir()
    with pytest.raises(IsADirectoryError):
        fetch(wanted)


@pytest.mark.parametrize(("url", "words"), [("http://127.0.0.1:1/f.pt", "Connection refused"), ("http://nowhere.invalid/f.pt", "nowhere.invalid")])
def test_without_a_network_it_says_what_cannot_be_reached_and_what_else_can_be_done(wanted, url, words):
    message = refusal(wanted._replace(url=url))
    assert words in message
    assert "HTTPS_PROXY" in message
    assert "--checkpoint" in message


def test_it_gives_up_when_nothing_comes_any_more_and_keeps_what_came(wanted, server, monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr(transfer.time, "sleep", waits.append)
    server.drops = [1000, *[0] * 20]
    assert "cannot be reached" in refusal(wanted)
    assert waits == [0, 1, 3, 7, 15]
    assert wanted.part.read_bytes() == server.content[:1000]


def test_the_proxy_of_the_environment_is_used(wanted, server, monkeypatch):
    monkeypatch.setenv("http_proxy", f"127.0.0.1:{server.port}")
    fetch(wanted._replace(url="http://nowhere.invalid/file.pt"))
    assert [path for path, _ in server.asked] == ["http://nowhere.invalid/file.pt"]


def test_a_host_that_the_environment_excludes_is_asked_directly(wanted, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    fetch(wanted)
    assert wanted.out.exists()
