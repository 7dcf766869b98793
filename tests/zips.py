"""Small zips laid out as the data set's archive."""

import io
import random
import zipfile
from pathlib import Path


def zip_of(
    members: dict[str, bytes], method: int = zipfile.ZIP_STORED, comment: bytes = b""
) -> bytes:
    """A zip of the members, in their order."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        archive.comment = comment
    return buffer.getvalue()


def case_members(n: int, seed: int = 1) -> dict[str, bytes]:
    """Members of n cases, as the data set's zip lays them out, in an order of their own."""
    rng = random.Random(seed)
    cases = [f"ID_{k:08x}_ID_{k:010x}" for k in range(n)]
    rng.shuffle(cases)
    members = {"top/README.txt": rng.randbytes(300_000)}
    for case in cases:
        for name in ("image", "label_annot_1", "label_annot_3"):
            size = 200_000 if name == "image" else 3_000
            members[f"top/{case}/{name}.nii.gz"] = rng.randbytes(size)
    return members


def members_of(archive: Path) -> dict[str, bytes]:
    """What the zip holds, checked, in its order."""
    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is None
        return {name: opened.read(name) for name in opened.namelist()}


def first(members: dict[str, bytes], n: int) -> dict[str, bytes]:
    """The members of the first n cases, by case id."""
    cases = sorted({name.split("/")[1] for name in members if "ID_" in name})[:n]
    return {name: data for name, data in members.items() if name.split("/")[1] in cases}
