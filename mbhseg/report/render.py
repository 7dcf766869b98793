"""Fill templates: HTML with every value escaped, Markdown as it is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from mbhseg.classes import ANY, FOREGROUND, KEYS
from mbhseg.config.run_names import SUBSETS
from mbhseg.report.measures import CONVENTIONS, NAMES

NO_VALUE = "–"


def render(template: str, context: Mapping[str, Any]) -> str:
    """Fill a template; an unknown name is an error. HTML is escaped, Markdown is not."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).resolve().parent / "templates"),
        autoescape=template.endswith(".html.j2"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"dice": dice, "share": share, "number": number, "size": size}
    environment.globals |= {
        "CLASSES": FOREGROUND,
        "CONVENTIONS": CONVENTIONS,
        "KEYS": (*KEYS, ANY),
        "NAMES": NAMES,
        "SUBSETS": SUBSETS,
        "NO_VALUE": NO_VALUE,
    }
    return environment.get_template(template).render(context)


def number(value: float | None, digits: int = 0) -> str:
    """A number with a thousands separator; a dash for None."""
    if value is None:
        return NO_VALUE
    text = f"{value:,.{digits}f}"
    return text.lstrip("-") if not text.strip("-0.,") else text  # no minus before zero


def dice(value: float | None) -> str:
    """A Dice with three digits; a dash for None."""
    return number(value, 3)


def share(value: float | None) -> str:
    """A share as a percentage; a dash for None."""
    return NO_VALUE if value is None else f"{100 * value:.0f} %"


def size(n_bytes: int) -> str:
    """Bytes as B, kB or MB."""
    if n_bytes < 1000:
        return f"{n_bytes} B"
    return f"{n_bytes / 1000:.0f} kB" if n_bytes < 1_000_000 else f"{n_bytes / 1e6:.1f} MB"
