"""Put first on PYTHONPATH: each process writes down what it loaded and read of the repository."""

import atexit
import json
import os
import sys
from pathlib import Path

_ROOT = os.environ["MBHSEG_SEEN_ROOT"]
_opened: set[str] = set()


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and isinstance(arguments[0], str) and arguments[1] in ("r", "rb"):
        _opened.add(str(Path.cwd() / arguments[0]))


def _write() -> None:
    loaded = {getattr(module, "__file__", None) or "" for module in list(sys.modules.values())}
    seen = {
        "script": Path(sys.argv[0]).name if sys.argv else "",
        "loaded": sorted(name for name in loaded if name.startswith(_ROOT)),
        "read": sorted(name for name in _opened if name.startswith(_ROOT)),
    }
    folder = Path(os.environ["MBHSEG_SEEN"])
    (folder / f"{os.getpid()}.json").write_text(json.dumps(seen))


sys.addaudithook(_note)
atexit.register(_write)
