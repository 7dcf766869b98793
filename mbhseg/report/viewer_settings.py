"""Settings that both viewers share: windows, colours, and how data are passed as scripts."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mbhseg.classes import FOREGROUND
from mbhseg.imaging import sprites
from mbhseg.imaging.windows import Window


def display(maps: Sequence[str], windows: Sequence[Window], *, compared: bool) -> dict[str, Any]:
    """The part of a viewer's index that is the same for all cases.

    `maps` are the ways to paint a slice that the viewer offers, `windows` the CT windows, the first
    of which it starts with, `compared` whether there is a reference to compare with.
    """
    return {
        "maps": list(maps),
        "compared": compared,
        "classes": [
            {"key": c.key, "name": c.name, "label": c.label, "rgb": c.rgb, "safe": c.safe_rgb}
            for c in FOREGROUND
        ],
        "windows": [window._asdict() for window in windows],
        "tone": {"hu": sprites.TONE_HU, "grey": sprites.TONE_GREY},
    }


def script(what: str, data: Mapping[str, Any]) -> str:
    """A script that passes data to the page; no text in it can end the script or the line."""
    text = json.dumps(data, separators=(",", ":"), sort_keys=True)  # ASCII only
    return f"mbhsegViewer.{what}({text.replace('<', chr(92) + 'u003c')});\n"
