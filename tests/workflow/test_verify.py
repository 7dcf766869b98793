"""The target `verify`: damaged artifacts of any kind are named, and nothing is made."""

import contextlib
import os

from mbhseg.files import read_table

RUN = "flexunet-f0-s1"
KINDS = (
    *("raw/archive.zip", "raw/source.json", "inventory/cases.tsv", "inventory/findings.tsv"),
    *("split/fold1.tsv", "agreement/pairs.csv", "agreement/summary.json"),
    *(f"models/{RUN}/{name}" for name in ("model.keras", "history.csv", "run.json")),
    *(f"evaluation/{RUN}/{name}" for name in ("cases.csv", "summary.json", "model_card.md")),
    *("report/index.html", "report/viewer.html"),
)


@contextlib.contextmanager
def damaged(path, data):
    """A file with other bytes, or missing if `data` is None; restored with its times."""
    kept, times = path.read_bytes(), path.stat()
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    try:
        yield
    finally:
        path.write_bytes(kept)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def flipped(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    return bytes(data)


def test_sound_results_verify_again_and_again(finished):
    for _ in range(2):
        text = finished.snakemake("verify")
        assert "1 of 1 steps (100%) done" in text
    assert " files are unchanged" in (finished.root / "results/logs/verify.log").read_text()


def test_each_kind_of_damage_is_named(finished):
    root = finished.root / "results/tiny"
    table = read_table(root / "dataset.tsv")
    image, mask = table["image"][0], table["mask"][1]
    rater = read_table(root / "annotations.tsv")["mask"][0]
    first, second = sorted((root / f"predictions/{RUN}/test").glob("*.nii.gz"))[:2]
    picture = next((root / f"predictions/{RUN}/test/png/masks").glob("*.png"))
    names = [*KINDS, image, rater, picture.relative_to(root).as_posix()]
    expected = {(name, "changed") for name in names} | {(mask, "missing")}
    expected |= {(path.relative_to(root).as_posix(), "changed") for path in (first, second)}
    damages = [(root / name, flipped(root / name)) for name in names]
    damages += [(root / mask, None)]
    damages += [(first, second.read_bytes()), (second, first.read_bytes())]
    with contextlib.ExitStack() as stack:
        for path, data in damages:
            stack.enter_context(damaged(path, data))
        text = finished.snakemake("verify", ok=False)
    log = (finished.root / "results/logs/verify.log").read_text()
    for name, status in expected:
        assert f"results/tiny/{name} {status}" in log
        assert f"results/tiny/{name} {status}" in text  # as failed logs are shown
    # slices and masks of the shards are hard links to the data set's and are named as well
    others = [x for x in log.splitlines() if x.endswith((" changed", " missing", " unknown"))]
    others = [x for x in others if not any(x.endswith(f"{n} {s}") for n, s in expected)]
    assert all("/slices/" in line or "/masks/" in line for line in others)
    assert "Traceback" not in log
    assert finished.planned() == {}
