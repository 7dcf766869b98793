"""Scans end to end: whatever lies how in which file, its labels lie on its own voxels."""

import threading
from collections.abc import Callable

import cv2
import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from mbhseg.config.defaults import defaults
from mbhseg.errors import InputError
from mbhseg.files import read_table
from mbhseg.imaging.display import network_input, resize_labels, to_display
from mbhseg.imaging.masks import read_mask
from mbhseg.imaging.nifti import load_labels, voxel_ml
from mbhseg.imaging.overlays import overlay
from mbhseg.imaging.png import read_grey, read_image
from mbhseg.imaging.windows import Window, to_grey
from mbhseg.inference.predictor import Predictor
from mbhseg.scans.discovery import FoundScan, find
from mbhseg.scans.pipeline import Settings, predict_scans
from mbhseg.scans.scan import Scan, image_of
from tests.dicoms import write_series
from tests.heads import blocks, head, reading
from tests.unit.imaging.test_geometry import ORIENTATIONS
from tests.volumes import save_nifti

WINDOW = Window("seed", 127.5, 255.0)
SIZE = 64
BARE = dict.fromkeys(("overlays", "mosaics", "probabilities", "report"), False)
AFFINE = np.array([[-0.5, 0, 0, 12], [0, 0.5, 0, 9], [0, 0, 5, -30], [0, 0, 0, 1.0]])


def settings_of(**inference) -> Settings:
    """The default config's settings but for these keys of `inference`."""
    return Settings.of(defaults()["inference"] | inference, None)


LABELS_ONLY = settings_of(**BARE)


def predictor(size=SIZE, network=reading, **options) -> Predictor:
    return Predictor(network, size=size, windows=[WINDOW], batch=3, **options)


def predict(inputs, out, settings=LABELS_ONLY, model=None) -> tuple[pd.DataFrame, list]:
    found, failures = find(inputs)
    return predict_scans(found, model or predictor(), out, settings, failures)


def same_geometry(found: nib.Nifti1Image, scan: nib.Nifti1Image) -> None:
    assert found.shape == scan.shape
    assert found.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(found.affine, scan.affine)
    for form in ("qform", "sform"):
        assert found.header[f"{form}_code"] == scan.header[f"{form}_code"]
    np.testing.assert_array_equal(found.header.get_qform(), scan.header.get_qform())
    np.testing.assert_array_equal(found.header.get_sform(), scan.header.get_sform())


def reoriented(image: nib.Nifti1Image, code: str) -> nib.Nifti1Image:
    start = nib.orientations.io_orientation(image.affine)
    axes = nib.orientations.ornt_transform(start, nib.orientations.axcodes2ornt(code))
    return image.as_reoriented(axes)


def knowing(labels: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A network's place taken by the truth of a head [x, y, z] in the training's orientation.

    It knows the images that such a network sees, and no others.
    """
    shown = [resize_labels(to_display(labels[:, :, z]), SIZE) for z in range(labels.shape[2])]
    images = network_input(head(labels), [WINDOW], SIZE)
    truth = {
        image.tobytes(): np.eye(6, dtype=np.float32)[plane]
        for image, plane in zip(images, shown, strict=True)
    }
    return lambda seen: np.stack([truth[image.tobytes()] for image in seen])


TILT = np.deg2rad(14)
TURN = np.array(
    [
        [1, 0, 0, 0],
        [0, np.cos(TILT), -np.sin(TILT), 0],
        [0, np.sin(TILT), np.cos(TILT), 0],
        [0, 0, 0, 1],
    ]
)
SHEAR = np.array([[1, 0, 0, 0], [0, 1, -2.5, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])


@pytest.mark.parametrize("matrix", [32, 64, 96])
@pytest.mark.parametrize("tilt", [np.eye(4), TURN, SHEAR], ids=["straight", "tilted", "sheared"])
def test_truth_comes_back_from_every_orientation(tmp_path, matrix, tilt):
    """A network of 64 x 64, matrices half, one and one and a half times that, as 256, 512, 768."""
    labels = blocks((matrix, matrix, 5), unit=matrix // 32)
    scan = nib.Nifti1Image(head(labels), None)
    affine = tilt @ AFFINE @ np.diag((64 / matrix, 64 / matrix, 1, 1))
    scan.set_sform(affine, 1)
    scan.set_qform(affine, 1 if tilt is not SHEAR else 0, strip_shears=True)
    truth = nib.Nifti1Image(labels, scan.affine, scan.header)
    for code in ORIENTATIONS:
        image = reoriented(scan, code)
        save_nifti(tmp_path / "scans" / f"{code}.nii.gz", image)
    model = predictor(network=knowing(labels))
    table, failed = predict([tmp_path / "scans"], tmp_path / "out", model=model)
    assert not failed
    assert set(table["case"]) == set(ORIENTATIONS)
    ml = abs(np.linalg.det(affine[:3, :3])) / 1000
    expected = np.bincount(labels.ravel(), minlength=6)[1:] * ml
    for code in ORIENTATIONS:
        found = nib.load(tmp_path / "out" / f"{code}.nii.gz")
        same_geometry(found, nib.load(tmp_path / "scans" / f"{code}.nii.gz"))
        np.testing.assert_array_equal(
            np.asarray(found.dataobj), np.asarray(reoriented(truth, code).dataobj), code
        )
        rows = table[table["case"] == code]
        np.testing.assert_allclose(rows["ml"].iloc[:5], expected, rtol=1e-5)
        assert rows["ml"].iloc[5] == pytest.approx(expected.sum(), rel=1e-5)


@pytest.mark.parametrize(
    ("dtype", "slope", "intercept"),
    [(np.int16, 1, 0), (np.int32, 1, -1024), (np.int16, 0.5, -8), (np.float32, 1, 0)],
)
def test_stored_types_and_anisotropic_planes(tmp_path, dtype, slope, intercept):
    labels = blocks((64, 48, 4))
    stored = ((head(labels) - intercept) / slope).astype(dtype)
    data = nib.Nifti1Image(stored, AFFINE).to_bytes()
    header = nib.Nifti1Header(data[:348], check=False)
    header["scl_slope"], header["scl_inter"] = slope, intercept
    (tmp_path / "s.nii").write_bytes(header.binaryblock + data[348:])
    _, failed = predict([tmp_path / "s.nii"], tmp_path / "out")
    assert not failed
    found, _ = load_labels(tmp_path / "out" / "s.nii.gz")
    np.testing.assert_array_equal(found, labels)


def test_dicom_gives_the_labels_of_the_nifti(tmp_path):
    labels = blocks((64, 64, 5))
    affine = SHEAR @ AFFINE @ np.diag((1, -1, 1, 1))
    write_series(tmp_path / "in" / "d", head(labels)[:, ::-1], affine, order=(3, 1, 4, 0, 2))
    save_nifti(tmp_path / "in" / "n.nii.gz", image_of(head(labels)[:, ::-1], affine))
    _, failed = predict([tmp_path / "in"], tmp_path / "out")
    assert not failed
    dicom, nifti = (nib.load(tmp_path / "out" / f"{name}.nii.gz") for name in "dn")
    np.testing.assert_array_equal(np.asarray(dicom.dataobj), labels[:, ::-1])
    np.testing.assert_array_equal(np.asarray(nifti.dataobj), labels[:, ::-1])
    np.testing.assert_allclose(dicom.affine, nifti.affine, atol=1e-5)


@pytest.fixture
def results(tmp_path):
    """Everything that can be written, of a volume in another orientation, an array, a picture."""
    labels = blocks((64, 64, 5))
    save_nifti(
        tmp_path / "in" / "v.nii.gz", reoriented(nib.Nifti1Image(head(labels), AFFINE), "SPR")
    )
    np.save(tmp_path / "in" / "a.npy", head(labels))
    grey = np.ascontiguousarray(to_display(head(labels)[:, :, 2]).clip(0, 255).astype(np.uint8))
    cv2.imwrite(str(tmp_path / "in" / "p.png"), grey)
    settings = settings_of(animations=True, probabilities=True, entropy=True, report=False)
    predict([tmp_path / "in"], tmp_path / "out", settings)
    return tmp_path / "out", labels


def test_pictures_and_volumes_of_everything(results):
    out, labels = results
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    slices = {f"{name}_{z:03d}" for name, n in (("v", 64), ("a", 5)) for z in range(n)} | {"p"}
    assert files == {
        *("volumes.csv", "failed.tsv", "v.nii.gz", "a.nii.gz", "a.npy"),
        *(f"{folder}/{name}.nii.gz" for folder in ("probabilities", "entropy") for name in "av"),
        *(f"png/{kind}/{name}.png" for kind in ("masks", "overlays") for name in slices),
        *(f"mosaics/{name}.png" for name in "avp"),
        *(f"animations/{name}.gif" for name in "avp"),
    }
    volume, _ = load_labels(out / "v.nii.gz")
    for z in range(64):
        mask = read_mask(out / f"png/masks/v_{z:03d}.png")
        np.testing.assert_array_equal(mask, to_display(volume[:, :, z]))
    np.testing.assert_array_equal(np.load(out / "a.npy"), labels)
    np.testing.assert_array_equal(read_mask(out / "png/masks/p.png"), to_display(labels[:, :, 2]))
    grey, mask = to_grey(head(labels), WINDOW), np.ascontiguousarray(to_display(labels[:, :, 2]))
    picture = overlay(np.ascontiguousarray(to_display(grey[:, :, 2])), mask)  # the model's window
    np.testing.assert_array_equal(read_image(out / "png/overlays/a_002.png"), picture)
    probabilities = nib.load(out / "probabilities" / "v.nii.gz").get_fdata()
    np.testing.assert_array_equal(probabilities[..., 1] > 0.99, volume == 2)
    entropy = nib.load(out / "entropy" / "v.nii.gz")
    same_geometry(entropy, nib.load(out / "v.nii.gz"))
    assert entropy.get_fdata().max() == 0  # this network is sure of everything
    assert cv2.imread(str(out / "mosaics" / "a.png")).shape == (160, 5 * 162 - 2, 3)
    gif = cv2.VideoCapture(str(out / "animations" / "v.gif"))
    frames = [frame for _, frame in iter(gif.read, (False, None))]
    assert len(frames) == 5


def test_what_is_unknown_stays_unknown(results):
    table = read_table(results[0] / "volumes.csv")
    assert list(table["case"].unique()) == ["a", "p", "v"]
    assert table.loc[table["case"] != "v", "ml"].isna().all()
    assert (table["mean_probability"].dropna() == 1).all()
    whole = table[(table["case"] == "v") & (table["class"] == "any")].iloc[0]
    labels = results[1]
    assert whole["voxels"] == (labels > 0).sum()
    assert whole["slices"] == 5
    assert whole["ml"] == pytest.approx((labels > 0).sum() * voxel_ml(AFFINE))


def hesitant(images: np.ndarray) -> np.ndarray:
    sharp = reading(images)
    return np.where(sharp == 1, 0.5, 0.1).astype(np.float32)


def test_doubt_is_told(tmp_path):
    save_nifti(tmp_path / "s.nii.gz", nib.Nifti1Image(head(blocks((64, 64, 4))), AFFINE))
    settings = settings_of(**BARE | {"entropy": True, "low_confidence": 0.51})
    model = predictor(network=hesitant)
    table, _ = predict([tmp_path / "s.nii.gz"], tmp_path / "out", settings, model)
    drawn = table[table["voxels"] > 0]
    np.testing.assert_allclose(drawn["mean_probability"], 0.5, atol=2e-3)
    assert drawn["low_confidence"].all()
    assert not table.loc[table["voxels"] == 0, "low_confidence"].any()
    p = np.array([0.5] + [0.1] * 5)
    expected = -(p * np.log(p)).sum() / np.log(6)
    entropy = nib.load(tmp_path / "out" / "entropy" / "s.nii.gz").get_fdata()
    np.testing.assert_allclose(entropy, expected, atol=2e-3)


def test_bad_scans_do_not_stop_the_others(tmp_path):
    good = nib.Nifti1Image(head(blocks((64, 64, 3))), AFFINE)
    for name in ("a", "c", "e"):
        save_nifti(tmp_path / "in" / f"{name}.nii.gz", good)
    save_nifti(tmp_path / "in" / "b.nii.gz", nib.Nifti1Image(np.zeros((9, 9), np.int16), AFFINE))
    (tmp_path / "in" / "d.nii.gz").write_bytes(b"no scan")
    table, failed = predict([tmp_path / "in", tmp_path / "nowhere.mha"], tmp_path / "out")
    assert list(table["case"].unique()) == ["a", "c", "e"]
    assert [failure.case for failure in failed] == ["nowhere", "b", "d"]
    told = read_table(tmp_path / "out" / "failed.tsv")
    assert list(told["case"]) == ["nowhere", "b", "d"]
    assert list(told["what"].str.slice(0, 9)) == ["no such f", "has 2 axe", "not a rea"]


def test_one_scan_is_read_while_another_is_predicted_and_written(tmp_path):
    """Three scans are alive at most, and reading does not wait for the network."""
    reading_next = threading.Event()
    alive, most = set(), []
    image = image_of(head(blocks((64, 64, 2))), AFFINE)

    def found(name: str) -> FoundScan:
        def read() -> Scan:
            alive.add(name)
            most.append(len(alive))
            if name == "1":
                reading_next.set()
            return Scan(name, name, "nifti", image)

        return FoundScan(name, name, read)

    def network(images: np.ndarray) -> np.ndarray:
        assert reading_next.wait(60)  # while scan 0 is predicted, scan 1 has been read
        return reading(images)

    table, failed = predict_scans(
        [found(str(n)) for n in range(6)], predictor(network=network), tmp_path, LABELS_ONLY
    )
    assert not failed
    assert table["case"].nunique() == 6


def test_an_interrupt_leaves_finished_scans_whole(tmp_path):
    for name in "abcd":
        save_nifti(
            tmp_path / "in" / f"{name}.nii.gz",
            nib.Nifti1Image(head(blocks((64, 64, 3))), AFFINE),
        )
    calls = []

    def network(images: np.ndarray) -> np.ndarray:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return reading(images)

    with pytest.raises(KeyboardInterrupt):
        predict([tmp_path / "in"], tmp_path / "out", model=predictor(network=network))
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == [
        "a.nii.gz",
        "b.nii.gz",
        "failed.tsv",
        "volumes.csv",
    ]
    assert list(read_table(out / "volumes.csv")["case"].unique()) == ["a", "b"]
    for name in "ab":
        np.testing.assert_array_equal(load_labels(out / f"{name}.nii.gz")[0], blocks((64, 64, 3)))


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot be written"):
        predict([tmp_path / "nowhere"], tmp_path / "file" / "out")


def test_a_large_field_of_view_is_tiled(tmp_path):
    """Twice the field at the training's pixel size: tiles give every voxel as it is."""
    labels = np.zeros((128, 128, 2), np.uint8)
    labels[30:94, 20:84] = blocks((64, 64, 2))
    scan = image_of(head(labels), AFFINE)
    save_nifti(tmp_path / "s.nii.gz", scan)
    for fit, exact in (("tile", True), ("auto", True), ("resize", False)):
        settings = settings_of(**BARE, fit=fit)
        predict([tmp_path / "s.nii.gz"], tmp_path / fit, settings, predictor(field_mm=32.0))
        found, _ = load_labels(tmp_path / fit / "s.nii.gz")
        assert np.array_equal(found, labels) == exact


def test_grey_pictures_are_what_the_network_sees(tmp_path):
    seen = []

    def network(images: np.ndarray) -> np.ndarray:
        seen.append(images)
        return reading(images)

    grey = np.arange(64 * 64, dtype=np.uint32).reshape(64, 64).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "p.png"), grey)
    predict([tmp_path / "p.png"], tmp_path / "out", model=predictor(network=network))
    np.testing.assert_array_equal(seen[0][0], np.repeat(grey[..., None], 3, axis=-1))
    assert read_grey(tmp_path / "p.png").shape == (64, 64)
