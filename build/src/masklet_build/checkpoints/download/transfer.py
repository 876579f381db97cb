"""One file over HTTP into `NAME.part`, as many connections as it takes, then checked and renamed."""

from __future__ import annotations

import errno
import re
import shutil
import sys
import time
from pathlib import Path
from typing import NamedTuple
from urllib.request import getproxies, proxy_bypass

import urllib3
from tqdm import tqdm

from masklet_build.checkpoints.official_files import DownloadError, OfficialFile
from masklet_build.manifest import file_sha256

_PIECE = 1 << 20  # bytes read at a time, at most
_FRUITLESS = 5  # attempts in a row that bring nothing, before giving up
_TIMEOUT = urllib3.Timeout(connect=10, read=30)
_BUSY = (429, 500, 502, 503, 504)  # statuses that another try may cure
_RETRIES = urllib3.Retry(total=10, connect=2, read=2, redirect=5, status=3, status_forcelist=_BUSY, backoff_factor=0.5, raise_on_status=False)


class Transfer(NamedTuple):
    """Where a file comes from and goes to.

    url     of the file
    out     its path when complete; until then it is `part`
    known   of the file
    token   bearer token for the host of `url`, or None. It is not sent to hosts that the server redirects to
    """

    url: str
    out: Path
    known: OfficialFile
    token: str | None

    @property
    def part(self) -> Path:
        """What is there so far."""
        return self.out.with_name(f"{self.out.name}.part")


def fetch(transfer: Transfer) -> None:
    """Fetches the file, going on where an earlier call stopped. It appears under its name only when size and sha256 are right.

    Shows progress on standard error. Raises DownloadError, and OSError where it cannot write; what was fetched stays for the next call; what is
    wrong, under the name NAME.other.
    """
    transfer.out.parent.mkdir(parents=True, exist_ok=True)
    begun, fruitless = False, 0
    with _pool(transfer.url) as pool, _progress(transfer) as bar:
        complete = False
        while not complete:
            before = _size(transfer.part)
            try:
                complete = _attempt(pool, transfer, before, bar)
            except urllib3.exceptions.HTTPError as error:
                came = _size(transfer.part) > before
                begun, fruitless = begun or came, 0 if came else fruitless + 1
                if not begun or fruitless == _FRUITLESS:
                    raise _unreachable(transfer.url, error) from error
                time.sleep(2**fruitless - 1)
    _finish(transfer)


def _attempt(pool: urllib3.PoolManager, transfer: Transfer, offset: int, bar: tqdm[None]) -> bool:
    """One connection. True: the file is complete. Raises urllib3's HTTPError where the connection broke."""
    if offset and offset == transfer.known.size:
        return True
    headers = {"Accept-Encoding": "identity", "User-Agent": "masklet-build"}
    headers |= {"Range": f"bytes={offset}-"} if offset else {}
    headers |= {"Authorization": f"Bearer {transfer.token}"} if transfer.token else {}
    response = pool.request("GET", transfer.url, headers=headers, preload_content=False, retries=_RETRIES)
    try:
        if response.status == 416 and offset:  # nothing is left after `offset`
            return True
        if response.status not in (200, 206):
            raise _refused(transfer.url, response.status, gated=transfer.known.gated, token=transfer.token is not None)
        start = _start(response)
        _check_room(transfer, response, start)
        _write(transfer.part, response, start, bar)
    finally:
        response.close()
    return True


def _start(response: urllib3.BaseHTTPResponse) -> int:
    """First byte of the file that the answer brings: a server may ignore the wish for a range."""
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(found[1]) if response.status == 206 and found else 0


def _check_room(transfer: Transfer, response: urllib3.BaseHTTPResponse, start: int) -> None:
    """Before anything is written: is it the official file's size, and does it fit on the disk?"""
    coming = int(response.headers.get("Content-Length", 0))
    if transfer.known.size and coming and start + coming != transfer.known.size:
        raise DownloadError(
            f"{transfer.url} offers {start + coming:,} bytes, the official file has {transfer.known.size:,}. "
            "It is another file, or a page for people to read; nothing was kept of it. Open the address in a browser and see what it is."
        )
    free = shutil.disk_usage(transfer.out.parent).free
    if coming > free:
        raise DownloadError(f"{transfer.out.parent} has {free:,} bytes free, {coming:,} are to come. Make room, or choose another place with --out.")


def _write(part: Path, response: urllib3.BaseHTTPResponse, start: int, bar: tqdm[None]) -> None:
    try:
        with part.open("ab" if start else "wb") as file:
            bar.update(start - bar.n)
            while piece := response.read1(_PIECE):  # not read(), which loses what came before the connection broke
                file.write(piece)
                bar.update(len(piece))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DownloadError(f"The disk of {part.parent} is full. Make room and run again; it goes on where it stopped ({part}).") from error


def _finish(transfer: Transfer) -> None:
    found = file_sha256(transfer.part)
    if found != transfer.known.sha256:
        size, other = _size(transfer.part), transfer.out.with_name(f"{transfer.out.name}.other")
        transfer.part.replace(other)
        raise DownloadError(
            f"{transfer.url}: the {size:,} bytes that came have sha256 {found}, the official file has {transfer.known.sha256}. They are in {other}. "
            "Run again; if it happens twice, the file at that address is another one. If you know why and trust it, `export --checkpoint` takes it."
        )
    transfer.part.replace(transfer.out)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _progress(transfer: Transfer) -> tqdm[None]:
    size, before = transfer.known.size, _size(transfer.part)
    pause = 0.2 if sys.stderr.isatty() else 10  # seconds between lines of a log
    return tqdm(total=size, initial=before, desc=transfer.out.name, unit="B", unit_scale=True, mininterval=pause, maxinterval=pause)


def _pool(url: str) -> urllib3.PoolManager:
    """Connections to the host of `url`, through the proxy that the environment names for it."""
    parsed = urllib3.util.parse_url(url)
    proxy = getproxies().get(parsed.scheme or "")
    if not proxy or proxy_bypass(parsed.host or ""):
        return urllib3.PoolManager(timeout=_TIMEOUT)
    return urllib3.ProxyManager(proxy if "://" in proxy else f"http://{proxy}", timeout=_TIMEOUT)


def _unreachable(url: str, error: Exception) -> DownloadError:
    """There was no connection, or no answer."""
    reason = error.reason if isinstance(error, urllib3.exceptions.MaxRetryError) and error.reason else error
    words = str(reason).rpartition(": ")[2] or type(reason).__name__
    return DownloadError(
        f"{urllib3.util.parse_url(url).host} cannot be reached: {words}. Check the network; behind a proxy set HTTPS_PROXY. "
        f"Or fetch {url} on another machine and give the file to `masklet-build export --checkpoint`."
    )


def _refused(url: str, status: int, *, gated: str | None, token: bool) -> DownloadError:
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
