"""The files of the page: copied into its folder, with links relative to it."""

import shutil
import struct
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import cv2

from mbhseg.errors import InputError
from mbhseg.png import read_image

_PNG_HEADER = struct.Struct(">8s8xII")
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
SMALL_QUALITY = 70  # of WebP, 1 to 100


class Picture(NamedTuple):
    """An image of the page: link relative to the page, size in pixels, and what it shows."""

    href: str
    width: int
    height: int
    alt: str


class Download(NamedTuple):
    """A file of the page to download: link relative to the page, its name, its size in bytes."""

    href: str
    name: str
    size: int


class Assets:
    """Copies files into the folder of the page and tells their links."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def picture(self, source: str | Path, place: str, alt: str) -> Picture:
        """Copy a PNG to `place` below the page's folder.

        Raises InputError if it is no PNG, FileNotFoundError if it is missing.
        """
        target = self._copy(Path(source), place)
        with target.open("rb") as stream:
            head = stream.read(_PNG_HEADER.size)
        if len(head) < _PNG_HEADER.size or not head.startswith(_PNG_SIGNATURE):
            raise InputError(source, "is no PNG image", "Make it again")
        _, width, height = _PNG_HEADER.unpack(head)
        return Picture(quote(place), width, height, alt)

    def picture_if_any(self, source: str | Path, place: str, alt: str) -> Picture | None:
        """As `picture`, or None if there is no such file."""
        return self.picture(source, place, alt) if Path(source).is_file() else None

    def small(self, source: str | Path, place: str, alt: str) -> Picture:
        """Put a picture, lossy and small, as WebP at `place`; InputError if it is no image."""
        pixels = read_image(source)
        target = self._folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        quality = [cv2.IMWRITE_WEBP_QUALITY, SMALL_QUALITY]
        target.write_bytes(cv2.imencode(".webp", pixels[:, :, ::-1], quality)[1].tobytes())
        return Picture(quote(place), pixels.shape[1], pixels.shape[0], alt)

    def download(self, source: str | Path, place: str) -> Download:
        """Copy any file to `place` below the page's folder; FileNotFoundError if it is missing."""
        target = self._copy(Path(source), place)
        return Download(quote(place), place, target.stat().st_size)

    def text(self, name: str, text: str) -> str:
        """Write a text file, such as a style sheet; its link."""
        (self._folder / name).write_text(text, encoding="utf-8", newline="\n")
        return quote(name)

    def _copy(self, source: Path, place: str) -> Path:
        target = self._folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        return target
