"""Headers that Triton forwards as parameters: told from parameters of ours, and from mistakes in those."""

from __future__ import annotations

import json
import os
import re

import pytest

from masklet_preprocess.forwarded import patterns, triton_words, without_headers

HEADERS = {"x-video-id": "7", "user-agent": "grpc", "authorization": "Bearer x"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["tritonserver", "--grpc-port=1"], []),
        (["tritonserver", "--grpc-header-forward-pattern=x-.*"], ["x-.*"]),
        (["tritonserver", "--grpc-header-forward-pattern", "x-.*", "--http-header-forward-pattern=(?i)y"], ["x-.*", "(?i)y"]),
        (["tritonserver", "--grpc-header-forward-pattern=a", "--grpc-header-forward-pattern=b=c"], ["b=c"]),
        (["tritonserver", "--grpc-header-forward-pattern="], []),
        (["tritonserver", "--grpc-header-forward-pattern"], []),
    ],
)
def test_the_patterns_are_those_of_tritons_command_line(words, expected):
    assert [pattern.pattern for pattern in patterns(words)] == expected


def test_the_command_line_is_that_of_the_parent():
    assert triton_words()[0]


def test_a_command_line_that_cannot_be_read_says_nothing(monkeypatch):
    monkeypatch.setattr(os, "getppid", lambda: 2**30)  # no process has this number
    assert triton_words() == []


@pytest.mark.parametrize(
    ("pattern", "kept"),
    [("x-.*", {"user-agent", "authorization"}), (".*", set()), ("nothing", set(HEADERS)), ("video", {"user-agent", "authorization"})],
)
def test_what_matches_is_left_out(pattern, kept):
    own = {"masks": "rle", "owner": "me", "track": False}
    left = json.loads(without_headers(json.dumps({**HEADERS, **own}), [re.compile(pattern)]))
    assert left == {**own, **{name: HEADERS[name] for name in kept}}


def test_mistakes_are_still_refused_where_all_headers_are_forwarded():
    """A header is a text; what is true, false or a number never was one."""
    mistakes = {"refin": True, "frame_idx": 3}
    assert json.loads(without_headers(json.dumps(mistakes), [re.compile(".*")])) == mistakes


@pytest.mark.parametrize("parameters", ["", "{}", "no JSON"])
def test_without_a_pattern_nothing_is_touched(parameters):
    assert without_headers(parameters, []) == parameters
