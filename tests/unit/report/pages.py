"""What the tests of pages in a real browser share: looking, choosing, what holds of each."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

AXE = Path(__file__).parents[3] / ".cache/axe/node_modules/axe-core/axe.min.js"  # by .ci/browser
READY = (
    "document.querySelector('#place').textContent && !document.querySelector('#status').innerText"
)
PAPER = 718  # CSS pixels: A4 with a centimetre of margin on both sides


@contextlib.contextmanager
def loaded(tab: Any, page: Path) -> Iterator[None]:
    """A page with a viewer, its first case loaded. Errors and requests elsewhere fail the test."""
    tab.errors.clear()
    tab.requests.clear()
    tab.resize(1280, 1000)
    tab.open(page)
    tab.until(READY)
    yield
    assert not tab.errors, tab.errors
    assert all(url.startswith(("file:", "about:", "data:")) for url in tab.requests)


def choose(tab: Any, field: str, value: str) -> None:
    """Pick an option as a person does."""
    tab.run(
        f"(() => {{ const e = document.getElementById({json.dumps(field)});"
        f"e.value = {json.dumps(value)}; e.dispatchEvent(new Event('change')); }})()"
    )


def text(tab: Any, selector: str) -> str:
    return tab.run(f"document.querySelector({json.dumps(selector)}).textContent")


def rows(tab: Any, table: str) -> list[list[str]]:
    return tab.run(
        f"[...document.querySelectorAll('#{table} tbody tr')]"
        ".map((row) => [...row.children].map((cell) => cell.textContent))"
    )


def address(tab: Any) -> dict[str, str]:
    return tab.run("Object.fromEntries(new URLSearchParams(location.hash.slice(1)))")


def overlay(tab: Any, shape: tuple[int, int]) -> np.ndarray:
    """RGBA in the middle of every voxel of the overlay, [H, W, 4]."""
    flat = tab.run(
        "(() => { const c = document.getElementById('overlay');"
        f"const f = c.width / {shape[1]}, out = [];"
        "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        f"for (let y = 0; y < {shape[0]}; y += 1) for (let x = 0; x < {shape[1]}; x += 1) {{"
        "const i = 4 * ((Math.floor((y + .5) * f)) * c.width + Math.floor((x + .5) * f));"
        "out.push(d[i], d[i + 1], d[i + 2], d[i + 3]); } return out; })()"
    )
    return np.array(flat, np.uint8).reshape(*shape, 4)


def axe_violations(tab: Any, page: Path, scheme: str) -> list[dict[str, Any]]:
    """What axe-core finds on a page, everything unfolded; skips where there is no axe-core."""
    axe = Path(os.environ.get("MBHSEG_AXE") or AXE)
    if not axe.is_file():
        pytest.skip(f"no axe-core here: run .ci/browser, or set MBHSEG_AXE ({axe} is missing)")
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    tab.call("Emulation.setEmulatedMedia", features=features)
    tab.resize(1280, 1000)
    tab.open(page)
    tab.until(f"!document.querySelector('#place') || {READY}")
    tab.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    tab.run(axe.read_text() + ";0")
    found = tab.run("axe.run().then((r) => r.violations)")
    tab.call("Emulation.setEmulatedMedia", features=[])
    return found


def check_print(tab: Any, page: Path) -> None:
    """Assert that a page prints dark on white, and that the paper cuts nothing off."""
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    tab.resize(PAPER, 1000)
    try:
        tab.call("Emulation.setEmulatedMedia", media="print", features=dark)
        tab.open(page)
        assert tab.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert tab.run("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
        wide = tab.run(
            "[...document.querySelectorAll('body *')]"
            f".filter((e) => e.checkVisibility() && e.getBoundingClientRect().right > {PAPER + 1})"
            ".map((e) => e.outerHTML.slice(0, 90))"
        )
        assert not wide, wide
    finally:
        tab.call("Emulation.setEmulatedMedia", media="", features=[])
