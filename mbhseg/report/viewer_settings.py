"""What every viewer of cases is told: its windows, its colours, and how data come as scripts."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mbhseg.classes import FOREGROUND
from mbhseg.imaging import sprites
from mbhseg.imaging.windows import Window

WINDOWS = (
    Window("brain", 40, 80),
    Window("stroke", 35, 40),
    Window("subdural", 75, 215),
    Window("bone", 600, 2800),
)


def display(maps: Sequence[str], *, compared: bool) -> dict[str, Any]:
    """The part of a viewer's index that is the same for all cases.

    `maps` are the ways to paint a slice that the viewer offers, `compared` whether predictions
    stand beside a reference.
    """
    return {
        "maps": list(maps),
        "compared": compared,
        "classes": [
            {"key": c.key, "name": c.name, "label": c.label, "rgb": c.rgb, "safe": c.safe_rgb}
            for c in FOREGROUND
        ],
        "windows": [window._asdict() for window in WINDOWS],
        "tone": {"hu": sprites.TONE_HU, "grey": sprites.TONE_GREY},
    }


def script(what: str, data: Mapping[str, Any]) -> str:
    """A script that hands data to the page; no text in it can end the script or the line."""
    text = json.dumps(data, separators=(",", ":"), sort_keys=True)  # ASCII only
    return f"mbhsegViewer.{what}({text.replace('<', chr(92) + 'u003c')});\n"
