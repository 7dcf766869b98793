"""The files of the page: copied into its folder, with links relative to it."""

import shutil
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import cv2
import numpy as np
from numpy.typing import NDArray

from mbhseg.imaging.png import read_image

LOSSLESS, QUALITY, SMALL_QUALITY = 101, 85, 70  # of WebP, as OpenCV counts
LARGE = 200_000  # bytes; charts are smaller, photographs of real scans larger


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
    """Copies files into the folder of the page and returns their links."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def picture(self, source: str | Path, place: str, alt: str, lossy: bool = False) -> Picture:
        """Write a picture as WebP to `place`.webp below the page's folder.

        It is lossless unless `lossy` or larger than LARGE bytes. The same pixels give the same
        bytes. Raises InputError if the file is missing or not an image.
        """
        pixels = read_image(source)
        data = b"" if lossy else _webp(pixels, LOSSLESS)
        if lossy or len(data) > LARGE:
            data = _webp(pixels, SMALL_QUALITY if lossy else QUALITY)
        target = self._folder / f"{place}.webp"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        return Picture(quote(f"{place}.webp"), pixels.shape[1], pixels.shape[0], alt)

    def picture_if_any(self, source: str | Path, place: str, alt: str) -> Picture | None:
        """Like `picture`, but None if there is no such file."""
        return self.picture(source, place, alt) if Path(source).is_file() else None

    def download(self, source: str | Path, place: str) -> Download:
        """Copy any file to `place` below the page's folder; FileNotFoundError if it is missing."""
        target = self._copy(Path(source), place)
        return Download(quote(place), place, target.stat().st_size)

    def text(self, name: str, text: str) -> str:
        """Write a text file, such as a style sheet; return its link."""
        target = self._folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8", newline="\n")
        return quote(name)

    def _copy(self, source: Path, place: str) -> Path:
        target = self._folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        return target


def static(name: str) -> str:
    """The text of a file in static/, such as `report.css`."""
    return (Path(__file__).parent / "static" / name).read_text(encoding="utf-8")


def _webp(pixels: NDArray[np.uint8], quality: int) -> bytes:
    done, data = cv2.imencode(
        ".webp", np.ascontiguousarray(pixels[:, :, ::-1]), [cv2.IMWRITE_WEBP_QUALITY, quality]
    )
    if not done:
        raise ValueError(f"a picture of {pixels.shape} pixels cannot be encoded")
    return data.tobytes()
