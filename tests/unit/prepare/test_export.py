"""Exports: byte-equal zips, and a folder that nnU-Net itself accepts."""

import gzip
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from mbhseg.classes import CLASSES
from mbhseg.config.run_names import SUBSETS
from mbhseg.errors import InputError
from mbhseg.files import manifest_of, sha256
from mbhseg.imaging.nifti import load_labels
from mbhseg.imaging.png import write_png
from mbhseg.prepare import export
from mbhseg.prepare.dataset import assemble, index_shards
from mbhseg.split import partition

TOP = "MBH_Train_2025_voxel-label"
SHAPE = (24, 20, 8)
PATIENTS = ("ID_0a", "ID_0b", "ID_0c", "ID_0d")
CASES = [f"{patient}_ID_01" for patient in PATIENTS] + ["ID_0a_ID_02"]
VOTE = {"method": "majority", "ties": "background"}

NNUNET = "2.8.1"
TORCH = "2.13.0"


def scan_of(case: str, shear: float = 0.0) -> nib.Nifti1Image:
    """Noise in the odd header of the real set: tilted qform, no sform; or a sheared sform."""
    rng = np.random.default_rng(CASES.index(case))
    hu = rng.integers(0, 80, SHAPE).astype(np.int16)
    hu[:3] = -2048
    tilt = np.deg2rad(3.0 * CASES.index(case))
    turn = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-0.5, -0.5, 5.0])
    affine[:3, 3] = 6, 5, -20
    image = nib.Nifti1Image(hu, affine)
    image.set_qform(affine, 1)
    image.set_sform(None, 0)
    if shear:
        affine[:3, 2] += shear * affine[:3, 1]
        image.set_sform(affine, 1)
    image.header.set_xyzt_units("mm")
    return image


def raters_of(case: str) -> dict[int, np.ndarray]:
    """Two or three raters: a box that all labelled, and a voxel that only rater 1 labelled."""
    label = CASES.index(case) + 1
    volume = np.zeros(SHAPE, np.uint8)
    volume[8:14, 6:12, 2:5] = label
    alone = volume.copy()
    alone[20, 15, 6] = 5
    return {1: alone, 2: volume} | ({4: volume} if label % 2 else {})


def consensus_of(case: str) -> np.ndarray:
    return raters_of(case)[2]


def write_archive(path: Path, shear: float = 0.0, plain: bool = False) -> Path:
    """The archive of CASES; `plain` leaves the volumes uncompressed despite their names."""
    pack = (lambda data: data) if plain else (lambda data: gzip.compress(data, mtime=7))
    with zipfile.ZipFile(path, "w") as archive:
        for case in CASES:
            scan = scan_of(case, shear)
            archive.writestr(f"{TOP}/{case}/image.nii.gz", pack(scan.to_bytes()))
            for rater, labels in raters_of(case).items():
                drawn = nib.Nifti1Image(labels.astype(np.uint16), None, scan.header)
                drawn.set_data_dtype(np.uint16)
                name = f"{TOP}/{case}/label_annot_{rater}.nii.gz"
                archive.writestr(name, pack(drawn.to_bytes()))
    return path


def fold_tables(folds: int = 2) -> list[pd.DataFrame]:
    cases = pd.DataFrame({"case": CASES, "patient": [case[:5] for case in CASES]})
    cases = cases.assign(classes="", status="ok")
    return partition.make(cases, folds=folds, test=0.25, valid=0.25, seed=1)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder nnUNet_raw with an export of the tiny archive, and one of sheared scans."""
    root = tmp_path_factory.mktemp("nnunet")
    for number, shear in ((501, 0.0), (502, 0.25)):
        archive = write_archive(root / f"{number}.zip", shear)
        out = root / "raw" / f"Dataset{number}_tiny"
        export.nnunet(archive, fold_tables(), out, **VOTE)
    return root / "raw"


class TestNnunet:
    def test_layout(self, exported: Path) -> None:
        folder = exported / "Dataset501_tiny"
        tables = fold_tables()
        test = sorted(partition.members(tables[0], "test"))
        training = sorted(set(CASES) - set(test))
        expected = {"dataset.json", "splits_final.json"}
        for suffix, cases in (("Tr", training), ("Ts", test)):
            expected |= {f"images{suffix}/{case}_0000.nii.gz" for case in cases}
            expected |= {f"labels{suffix}/{case}.nii.gz" for case in cases}
        assert set(manifest_of(folder)["file"]) == expected
        assert test
        description = json.loads((folder / "dataset.json").read_text())
        assert description == {
            "channel_names": {"0": "CT"},
            "labels": {"background": 0, "EDH": 1, "IPH": 2, "IVH": 3, "SAH": 4, "SDH": 5},
            "numTraining": len(training),
            "file_ending": ".nii.gz",
        }
        folds = json.loads((folder / "splits_final.json").read_text())
        assert folds == [
            {
                "train": sorted(partition.members(table, "train")),
                "val": sorted(partition.members(table, "valid")),
            }
            for table in tables
        ]

    def test_volumes(self, exported: Path) -> None:
        for number, shear in ((501, 0.0), (502, 0.25)):
            folder = exported / f"Dataset{number}_tiny"
            for path in folder.glob("labelsT?/*.nii.gz"):
                case = path.name.removesuffix(".nii.gz")
                labels, affine = load_labels(path)
                np.testing.assert_array_equal(labels, consensus_of(case))
                scan = scan_of(case, shear)
                np.testing.assert_allclose(affine, scan.affine, atol=1e-6)
                image_path = folder / path.parent.name.replace("labels", "images")
                image = nib.load(image_path / f"{case}_0000.nii.gz")
                np.testing.assert_array_equal(np.asarray(image.dataobj), scan.dataobj)
                header, label_header = image.header, nib.load(path).header
                assert image.get_data_dtype() == np.int16
                for key in ("qform_code", "sform_code", "xyzt_units"):
                    assert header[key] == label_header[key] == scan.header[key]

    def test_sheared_scans_name_a_reader(self, exported: Path) -> None:
        description = json.loads((exported / "Dataset502_tiny/dataset.json").read_text())
        assert description["overwrite_image_reader_writer"] == "NibabelIO"
        assert not any(export.is_sheared(scan_of(case)) for case in CASES)

    def test_deterministic_and_manifest(self, exported: Path, tmp_path: Path) -> None:
        out = tmp_path / "Dataset501_tiny"
        manifest = export.nnunet(write_archive(tmp_path / "a.zip"), fold_tables(), out, **VOTE)
        pd.testing.assert_frame_equal(manifest, manifest_of(exported / "Dataset501_tiny"))

    def test_other_consensus(self, tmp_path: Path) -> None:
        archive = write_archive(tmp_path / "a.zip", plain=True)
        out = tmp_path / "Dataset001_x"
        export.nnunet(archive, fold_tables(), out, method="rater", ties="background", rater=1)
        for path in out.glob("labelsT?/*.nii.gz"):
            labels, _ = load_labels(path)
            np.testing.assert_array_equal(labels, raters_of(path.name[:11])[1])
        for path in out.glob("imagesT?/*.nii.gz"):
            assert path.read_bytes()[:2] == b"\x1f\x8b"  # gzipped, as the name says

    def test_faults(self, tmp_path: Path) -> None:
        archive, out = write_archive(tmp_path / "a.zip"), tmp_path / "Dataset001_x"
        tables = fold_tables()
        with pytest.raises(InputError, match=r"split\.by: slice"):
            export.nnunet(archive, [tables[0].assign(slice=0)], out, **VOTE)
        with pytest.raises(InputError, match=r"^split: .*training cases"):
            export.nnunet(archive, [tables[0].assign(subset="test")], out, **VOTE)
        with pytest.raises(ValueError, match="different test sets"):
            export.nnunet(archive, [tables[0], tables[1].assign(subset="train")], out, **VOTE)
        for name in ("tiny", "Dataset1000_a", "Dataset1_a", "Dataset001_a b", "Dataset001_"):
            with pytest.raises(ValueError, match=f"{name} is not Dataset"):
                export.nnunet(archive, tables, tmp_path / name, **VOTE)
        unknown = tables[0].assign(case=tables[0]["case"] + "ff")
        with pytest.raises(InputError, match=r"a\.zip: has no case ID_.*ff"):
            export.nnunet(archive, [unknown], out, **VOTE)
        with pytest.raises(InputError, match=r"^ID_\w+: rater 4 "):
            export.nnunet(archive, tables, out, method="rater", ties="background", rater=4)
        assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]


class TestImageMaskZip:
    def dataset(self, root: Path) -> pd.DataFrame:
        """A data set of one slice per case, none in test."""
        table = fold_tables(1)[0]
        table = table[table["subset"] != "test"]
        shards = []
        for folder in ("slices", "masks"):
            for i, case in enumerate(table["case"]):
                write_png(root / folder / f"{case}_003.png", np.full((2, 2, 3), i, np.uint8))
            shards.append(index_shards([(root / folder, manifest_of(root / folder))]))
        return assemble(
            table, *shards, root=root, out_dir=root / "dataset", out_table=root / "dataset.tsv"
        )

    def test_layout_and_content(self, tmp_path: Path) -> None:
        manifest = self.dataset(tmp_path)
        out = tmp_path / "out" / "phantom-ImageMask-Dataset.zip"
        export.image_mask_zip(manifest, tmp_path, out, top="phantom")
        with zipfile.ZipFile(out) as archive:
            assert archive.testzip() is None
            entries = {entry.filename: entry for entry in archive.infolist()}
            folders = {f"phantom/{s}/{k}/" for s in SUBSETS for k in ("images", "masks")}
            files = {f"phantom/{p.removeprefix('dataset/')}" for p in manifest["image"]}
            files |= {f"phantom/{p.removeprefix('dataset/')}" for p in manifest["mask"]}
            assert set(entries) == folders | files
            assert {e.compress_type for e in entries.values()} == {zipfile.ZIP_STORED}
            archive.extractall(tmp_path / "unzipped")
        pd.testing.assert_frame_equal(
            manifest_of(tmp_path / "unzipped" / "phantom"), manifest_of(tmp_path / "dataset")
        )

    def test_same_bytes(self, tmp_path: Path) -> None:
        digests = set()
        for name in ("one", "two"):
            manifest = self.dataset(tmp_path / name)
            os.utime(tmp_path / name / manifest["image"][0], (1, 1))
            manifest = manifest.iloc[::-1] if name == "two" else manifest
            export.image_mask_zip(manifest, tmp_path / name, tmp_path / f"{name}.zip", "phantom")
            digests.add(sha256(tmp_path / f"{name}.zip"))
        assert len(digests) == 1

    def test_faults_leave_nothing(self, tmp_path: Path) -> None:
        manifest = self.dataset(tmp_path)
        out = tmp_path / "out" / "a.zip"
        path = tmp_path / manifest["mask"][1]
        path.write_bytes(b"other")
        with pytest.raises(InputError, match=r"\.png: .*dataset\.tsv"):
            export.image_mask_zip(manifest, tmp_path, out, "phantom")
        path.unlink()
        with pytest.raises(InputError, match=r"\.png: .*missing"):
            export.image_mask_zip(manifest, tmp_path, out, "phantom")
        assert list(out.parent.iterdir()) == []


@pytest.fixture(scope="session")
def nnunet_bin() -> Path:
    """The programs of a virtual environment with nnU-Net, made once; skips if it cannot be.

    It is kept below the user's cache folder (2 GB with a CPU build of PyTorch); pip's own
    settings say where packages come from.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    venv = cache / "mbhseg" / f"nnunet-{NNUNET}-torch-{TORCH}"
    done = venv / "complete"
    if not done.exists():
        packages = [f"nnunetv2=={NNUNET}", f"torch=={TORCH}"]
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(venv)],
            [str(venv / "bin" / "pip"), "install", "-q", *packages],
        ):
            try:
                subprocess.run(command, check=True, capture_output=True, text=True, timeout=1800)
            except (OSError, subprocess.SubprocessError) as error:
                reason = str(getattr(error, "stderr", "") or error).strip().splitlines()[-1]
                pytest.skip(f"no environment with nnU-Net could be made: {reason}")
        done.touch()
    return venv / "bin"


def plan(nnunet_bin: Path, raw: Path, work: Path, *datasets: int) -> subprocess.CompletedProcess:
    """nnU-Net's integrity check and planning, without preprocessing."""
    folders = {"nnUNet_raw": raw, "nnUNet_preprocessed": work / "pp", "nnUNet_results": work / "r"}
    program = nnunet_bin / "nnUNetv2_plan_and_preprocess"
    numbers = [str(number) for number in datasets]
    return subprocess.run(
        [program, "-d", *numbers, "--verify_dataset_integrity", "--no_pp", "-npfp", "1"],
        env=os.environ | {name: str(folder) for name, folder in folders.items()},
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.slow
def test_nnunet_accepts_the_export(exported: Path, nnunet_bin: Path, tmp_path: Path) -> None:
    done = plan(nnunet_bin, exported, tmp_path, 501, 502)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("verify_dataset_integrity Done") == 2
    said = done.stdout.replace("If you didn't see any error messages", "").lower()
    assert "warning" not in said
    assert "error" not in said
    for name in ("Dataset501_tiny", "Dataset502_tiny"):
        copied = tmp_path / "pp" / name / "splits_final.json"
        assert json.loads(copied.read_text()) == json.loads(
            (exported / name / "splits_final.json").read_text()
        )
        plans = json.loads((tmp_path / "pp" / name / "nnUNetPlans.json").read_text())
        reader = "SimpleITKIO" if name.startswith("Dataset501") else "NibabelIO"
        assert plans["image_reader_writer"] == reader


@pytest.mark.slow
def test_nnunet_refuses_a_damaged_export(exported: Path, nnunet_bin: Path, tmp_path: Path) -> None:
    """The check above would notice: one label outside the table is enough."""
    folder = tmp_path / "raw" / "Dataset501_tiny"
    for row in manifest_of(exported / "Dataset501_tiny")["file"]:
        (folder / row).parent.mkdir(parents=True, exist_ok=True)
        (folder / row).write_bytes((exported / "Dataset501_tiny" / row).read_bytes())
    path = next(folder.glob("labelsTr/*.nii.gz"))
    image = nib.load(path)
    labels = np.asarray(image.dataobj).copy()
    labels[0, 0, 0] = len(CLASSES)
    nib.save(nib.Nifti1Image(labels, None, image.header), path)
    done = plan(nnunet_bin, tmp_path / "raw", tmp_path, 501)
    assert done.returncode != 0
    assert "Unexpected labels found" in done.stdout
