"""The official checkpoint files: address, size and hash of each. Nothing of this is fetched to know it.

Sizes and hashes were read from the pages of the files on Hugging Face, where Git LFS states them, at these repositories:

  efficienttam_*.pt     yunyangx/efficient-track-anything, commit b308d79
  sam2_hiera_*.pt       facebook/sam2-hiera-*, the same files that dl.fbaipublicfiles.com serves
  sam2.1_hiera_*.pt     facebook/sam2.1-hiera-tiny; the other three from copies that agree with one another (camenduru/sam2-1-hiera)
  sam3.pt               copies that agree with one another (ares0728/sam3), since facebook/sam3 shows its files to members only
  edgetam.pt            facebook/EdgeTAM, the same file as in the code's repository

None was downloaded here. A size of None is stated nowhere in bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from masklet.families import Variant


class DownloadError(Exception):
    """An official file could not be fetched. The message says why and what to do."""


@dataclass(frozen=True)
class OfficialFile:
    """What is known of a checkpoint file before it is downloaded.

    size    bytes; None: not known
    sha256  of its bytes, in hex
    gated   a page where a licence must be accepted first; None: free for all
    """

    size: int | None
    sha256: str
    gated: str | None = None


OFFICIAL_FILES: Mapping[str, OfficialFile] = {
    "efficienttam_ti_512x512.pt": OfficialFile(71_620_052, "7d4d652a465f0081391050932f45d8a66768ccc99c8ea393ce8a5927e83f3b9b"),
    "efficienttam_ti.pt": OfficialFile(71_616_316, "acbb17b28cca1f860acee09c9ecb6efdb732080dc7a85a07292c31813175fa7d"),
    "efficienttam_ti_1.pt": OfficialFile(None, "5294bd68820ee1ee5203d54065d4384a6aa1fb4fc632c147417478fcac9576ea"),
    "efficienttam_ti_2.pt": OfficialFile(None, "d2a9ca0a736257ee9bb238d335ba7c794ad853e594cb4f679019ecc0854ee587"),
    "efficienttam_s_512x512.pt": OfficialFile(136_379_145, "67b5840012737ed2c94a4cb8787c5c1b27b3a946045d2e602e65ef77230b6085"),
    "efficienttam_s.pt": OfficialFile(136_375_868, "2b572be30d9e96ee29c8d785fe157c6b079ede7d56fbc8a3671d4120e63c89cd"),
    "efficienttam_s_1.pt": OfficialFile(136_376_327, "4fd5d1f7ae08a7e15086623bf8b12f0b111b773b15564b43c0a5d451fc1a4267"),
    "efficienttam_s_2.pt": OfficialFile(136_376_327, "253e490b4a3d56eedd64e4d466155ec538d1289f52abe78b091b14caefd92343"),
    "sam2_hiera_tiny.pt": OfficialFile(155_906_050, "65b50056e05bcb13694174f51bb6da89c894b57b75ccdf0ba6352c597c5d1125"),
    "sam2_hiera_small.pt": OfficialFile(184_309_650, "95949964d4e548409021d47b22712d5f1abf2564cc0c3c765ba599a24ac7dce3"),
    "sam2_hiera_base_plus.pt": OfficialFile(323_493_298, "d0bb7f236400a49669ffdd1be617959a8b1d1065081789d7bbff88eded3a8071"),
    "sam2_hiera_large.pt": OfficialFile(897_952_466, "7442e4e9b732a508f80e141e7c2913437a3610ee0c77381a66658c3a445df87b"),
    "sam2.1_hiera_tiny.pt": OfficialFile(156_008_466, "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69"),
    "sam2.1_hiera_small.pt": OfficialFile(184_416_285, "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38"),
    "sam2.1_hiera_base_plus.pt": OfficialFile(323_606_802, "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5"),
    "sam2.1_hiera_large.pt": OfficialFile(898_083_611, "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318"),
    "sam3.pt": OfficialFile(
        3_450_062_241, "9999e2341ceef5e136daa386eecb55cb414446a00ac2b55eb2dfd2f7c3cf8c9e", gated="https://huggingface.co/facebook/sam3"
    ),
    "edgetam.pt": OfficialFile(56_116_523, "ed2d4850b8792c239689b043c47046ec239b6e808a3d9b6ae676c803fd8780df"),
}


def official_file(variant: Variant) -> OfficialFile:
    """Of an official variant. Raises KeyError for one without."""
    return OFFICIAL_FILES[variant.checkpoint]


def address(variant: Variant) -> str:
    """The URL of an official variant's checkpoint."""
    return variant.family.weights + variant.checkpoint
