"""The command `masklet-build download`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from masklet_build.checkpoints.official_files import DownloadError, OfficialFile, address, official_file
from masklet_build.common import fail, missing
from masklet_build.manifest import file_sha256
from masklet_build.models import variants

EPILOG = """examples:
  masklet-build download efficienttam_ti_512                     writes efficienttam_ti_512x512.pt here
  masklet-build download sam2.1_l --out checkpoints/             a folder, or the name of the file
  HF_TOKEN=hf_... masklet-build download sam3                    gated: accept its licence on the page that the error names first

A download that was interrupted goes on where it stopped, from NAME.part. The file gets its name only when its sha256 is that of the official
file. A file that is there already is checked and not fetched again. HTTPS_PROXY is honoured.

Checkpoints in the layout of Hugging Face transformers need no download by this command: give their folder, or model.safetensors, to
`masklet-build export --checkpoint`.

exit codes: 0 the file is there, 1 it failed and the last line says why, 2 wrong arguments"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments beside the variant."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    parser.add_argument("--out", type=Path, default=Path(), metavar="PATH", help="file, or a folder for it (default: here)")
    parser.add_argument(
        "--mirror", metavar="URL", help="fetch the file of the same name below this address instead; its hash is checked all the same"
    )


def run_download(args: argparse.Namespace) -> int:
    """Runs the command. Returns the exit code."""
    variant = variants.variant(args.variant)
    if not variant.official:
        args.refuse(f"{variant.name} is in the package: there is nothing to download. Next: masklet-build assemble {variant.name} --out REPO")
    if args.mirror and not args.mirror.startswith(("https://", "http://")):
        args.refuse(f"--mirror {args.mirror}: an address begins with https:// or http://.")
    if absent := missing("download", "urllib3", "tqdm"):
        return fail("download", absent)
    from masklet_build.checkpoints.download.transfer import Transfer, fetch

    known = official_file(variant)
    url = f"{args.mirror.rstrip('/')}/{variant.checkpoint}" if args.mirror else address(variant)
    token = os.environ.get("HF_TOKEN") if known.gated and not args.mirror else None
    out = _path(args.out, variant.checkpoint)
    try:
        if not _there(out, known):
            print(f"{url} -> {out}", flush=True)
            fetch(Transfer(url, out, known, token))
    except (DownloadError, OSError) as error:
        return fail("download", error)
    print(f"{out}: complete, sha256 {known.sha256}\nNext: masklet-build export {variant.name} --checkpoint {out} --out ENGINES")
    return 0


def _path(out: Path, name: str) -> Path:
    return out if out.suffix == Path(name).suffix and not out.is_dir() else out / name


def _there(out: Path, known: OfficialFile) -> bool:
    """Whether the file is there and right. Raises DownloadError if it is another one."""
    if not out.exists():
        return False
    found = file_sha256(out)
    if found != known.sha256:
        raise DownloadError(f"{out} is there but is not the official file: its sha256 is {found}. Move it away, or choose another name with --out.")
    return True
