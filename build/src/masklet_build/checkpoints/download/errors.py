"""Why a download ended, and what to do about it."""

from __future__ import annotations

import urllib3

from masklet_build.checkpoints.official_files import DownloadError


def unreachable(url: str, error: Exception) -> DownloadError:
    """There was no connection, or no answer."""
    reason = error.reason if isinstance(error, urllib3.exceptions.MaxRetryError) and error.reason else error
    words = str(reason).rpartition(": ")[2] or type(reason).__name__
    return DownloadError(
        f"{urllib3.util.parse_url(url).host} cannot be reached: {words}. Check the network; behind a proxy set HTTPS_PROXY. "
        f"Or fetch {url} on another machine and give the file to `masklet-build export --checkpoint`."
    )


def refused(url: str, status: int, *, gated: str | None, token: bool) -> DownloadError:
    """The server answered with an error status."""
    if status in (401, 403) and gated:
        account = (
            "The account of your HF_TOKEN has no access to it, or the token is not valid." if token else "It needs a token, and HF_TOKEN is not set."
        )
        return DownloadError(
            f"{url} is gated (HTTP {status}). {account} Accept the licence at {gated}, wait for approval, make a token with read access at "
            "https://huggingface.co/settings/tokens, and run again with HF_TOKEN=<token>."
        )
    advice = {
        401: "It asks for a login, which the official file does not need: is there a proxy or a mirror between?",
        403: "Access is refused, which the official file's host does not do: is there a proxy or a mirror between?",
        404: "The file is not there. It may have moved: see the pages that `masklet-build variants` names; or the mirror lacks it.",
        429: "Too many requests. Wait some minutes, then run again; it goes on where it stopped.",
    }
    return DownloadError(f"{url} answered HTTP {status}. {advice.get(status, 'Run again later; it goes on where it stopped.')}")
