"""The phantom: an archive as the real one is laid out, heads and bleeds where they belong."""

import re
import zipfile
from itertools import combinations
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from mbhseg.classes import FOREGROUND, KEYS
from mbhseg.errors import InputError
from mbhseg.files import sha256
from mbhseg.imaging.nifti import label_array
from mbhseg.inspect.archive import CASE_PATTERN, Archive
from mbhseg.phantom import PhantomCase, PhantomSpec, make_case, write_archive
from mbhseg.phantom.anatomy import Head
from mbhseg.phantom.compose import _Patient, _patient
from mbhseg.phantom.density import TISSUES
from mbhseg.phantom.fields import Points
from mbhseg.phantom.hemorrhages import Epidural, Subdural
from mbhseg.phantom.raters import raters_of, readings
from mbhseg.phantom.scenarios import bleeds, scenario
from mbhseg.phantom.spec import case_id, patient_index, rng_for, visit
from mbhseg.runtime import parallel

LABEL = {c.key: c.label for c in FOREGROUND}
SPEC = PhantomSpec(cases=30, size=96, slices=12, seed=25)


@pytest.fixture(scope="module")
def cases() -> list[PhantomCase]:
    return [make_case(SPEC, index) for index in range(SPEC.cases)]


@pytest.fixture(scope="module")
def zipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("phantom") / "archive.zip"
    write_archive(path, SPEC._replace(cases=4))
    return path


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


# The archive


def test_members_and_headers_are_laid_out_as_in_the_real_archive(zipped, real_ct):
    names = ("qform_code", "sform_code", "xyzt_units", "dim_info", "intent_code", "scl_slope")
    names += ("scl_inter", "cal_max", "descrip", "aux_file", "sizeof_hdr", "magic", "toffset")
    kinds = []
    for path in (real_ct / "MBH_Train_2025_voxel-label.zip", zipped):
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            zip_fields = {
                (e.compress_type, e.create_system, e.external_attr, e.date_time[0] == 2025)
                for e in entries
            }
            shapes = {re.sub("[0-9a-f]{8,}", "#", re.sub("_[1-5].nii", "_k.nii", e.filename))
                      for e in entries}  # fmt: skip
        with Archive(path) as archive:
            image = archive.nifti(next(iter(archive.cases.values())).image)
            fields = {name: str(image.header[name]) for name in names}
            codes = nib.aff2axcodes(image.affine)
        kinds.append((zip_fields, shapes, fields, codes, float(image.header["pixdim"][0])))
    assert kinds[0] == kinds[1]


def test_the_archive_holds_what_the_cases_are(zipped):
    spec = SPEC._replace(cases=4)
    with Archive(zipped) as archive:
        assert list(archive.cases) == sorted(case_id(spec, i) for i in range(4))
        for index in range(4):
            case = make_case(spec, index)
            files = archive.cases[case.case]
            image = archive.nifti(files.image)
            assert image.get_data_dtype() == case.hu.dtype
            np.testing.assert_array_equal(np.asanyarray(image.dataobj), case.hu)
            np.testing.assert_allclose(image.affine, case.affine, atol=1e-3)
            assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (1, 0)
            assert set(files.labels) == set(case.labels)
            for rater, member in files.labels.items():
                mask = archive.nifti(member)
                np.testing.assert_array_equal(mask.affine, image.affine)
                assert mask.get_data_dtype() == (np.float64 if index == 2 else np.uint16)
                np.testing.assert_array_equal(label_array(mask, member), case.labels[rater])


def test_equal_specs_give_equal_bytes_and_other_seeds_other_bytes(zipped, tmp_path):
    spec = SPEC._replace(cases=4)
    write_archive(tmp_path / "again.zip", spec, progress=lambda items, total: items)
    write_archive(tmp_path / "other.zip", spec._replace(seed=26, cases=1))
    assert sha256(tmp_path / "again.zip") == sha256(zipped)
    with zipfile.ZipFile(tmp_path / "other.zip") as other, zipfile.ZipFile(zipped) as first:
        assert not {e.CRC for e in other.infolist()} & {e.CRC for e in first.infolist()}


def test_several_processes_give_equal_bytes(zipped, tmp_path, monkeypatch):
    monkeypatch.setattr(parallel, "_ITEMS_PER_PROCESS", 2)
    write_archive(tmp_path / "shared.zip", SPEC._replace(cases=4), processes=2)
    assert sha256(tmp_path / "shared.zip") == sha256(zipped)


def test_a_failure_leaves_no_archive(tmp_path):
    def stop_after_one(items, total):
        assert total == 4
        yield next(iter(items))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_archive(tmp_path / "a.zip", SPEC._replace(cases=4), progress=stop_after_one)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "wrong", [{"cases": 0}, {"size": 8}, {"slices": 2}, {"seed": -1}, {"noise": -1.0}]
)
def test_specs_out_of_bounds_are_refused(wrong, tmp_path):
    spec = SPEC._replace(**wrong)
    with pytest.raises(InputError, match=next(iter(wrong))):
        write_archive(tmp_path / "a.zip", spec)
    with pytest.raises(InputError):
        make_case(spec, 0)


# The set of cases


def test_a_case_does_not_depend_on_how_many_there_are(cases):
    alone = make_case(SPEC._replace(cases=1), 6)
    assert alone.case == cases[6].case
    np.testing.assert_array_equal(alone.hu, cases[6].hu)
    np.testing.assert_array_equal(alone.truth, cases[6].truth)
    assert alone.labels.keys() == cases[6].labels.keys()
    for rater, labels in alone.labels.items():
        np.testing.assert_array_equal(labels, cases[6].labels[rater])


def test_ids_are_unique_and_some_patients_come_twice():
    ids = [case_id(SPEC, index) for index in range(2000)]
    assert all(CASE_PATTERN.fullmatch(i) and len(i) == 25 for i in ids)
    assert len(set(ids)) == len({i.split("_ID_")[1] for i in ids}) == 2000
    patients = [i.split("_ID_")[0] for i in ids]
    assert len(set(patients)) == 2000 - sum(visit(index) for index in range(2000))
    assert [patient_index(i) for i in range(10)] == [0, 1, 2, 3, 4, 5, 6, 3, 7, 8]
    assert len(set(patients[:8])) == 7
    assert set(map(patient_index, range(2000))) == set(range(len(set(patients))))


def test_the_two_scans_of_a_patient_show_the_same_head(cases):
    first, second = cases[3], cases[7]
    assert first.case.split("_ID_")[0] == second.case.split("_ID_")[0]
    assert set(np.unique(first.truth)) == set(np.unique(second.truth))
    assert not np.array_equal(first.hu, second.hu)


@pytest.mark.parametrize("seed", range(12))
def test_small_sets_hold_every_scenario(seed):
    spec = SPEC._replace(seed=seed)
    names = [scenario(spec, patient) for patient in range(20)]
    assert len(set(names[:10])) == len(set(names[10:])) == 10
    assert "none" in names[:5]  # even eight scans hold a head without a bleed
    assert "epidural" in names[:5]


def test_every_class_is_in_several_patients_and_of_decent_size(cases):
    voxel_ml = abs(np.linalg.det(cases[0].affine)) / 1000
    for key in KEYS:
        volumes = [np.count_nonzero(c.truth == LABEL[key]) * voxel_ml for c in cases[:24]]
        present = [v for v in volumes if v > 0]
        assert len(present) >= 4, key
        assert 3 < np.median(present) < 60, (key, present)
    assert sum(not c.truth.any() for c in cases) == 3


def test_the_oddities_of_the_real_set_occur(cases):
    assert {c.hu.dtype.name for c in cases} == {"int16", "int32"}
    assert {int(c.hu[0, 0, 0]) for c in cases} >= {-2048, -3024, -1024}
    assert {np.dtype(c.mask_dtype).name for c in cases} == {"uint16", "float64"}
    tilts = [np.degrees(np.arctan2(c.affine[2, 1], c.affine[1, 1])) for c in cases]
    assert min(tilts) >= 0
    assert 8 < max(tilts) <= 15
    assert {len(c.labels) for c in cases} >= {1, 2, 3}
    assert len({tuple(c.labels) for c in cases}) >= 5


@pytest.mark.parametrize(("size", "slices"), [(64, 8), (160, 30)])
def test_the_head_fills_the_field_of_view_at_any_size(size, slices):
    case = make_case(PhantomSpec(1, size, slices, 3), 0)
    assert case.hu.shape == (size, size, slices)
    spacing = np.linalg.norm(case.affine[:3, :3], axis=0)
    assert 220 < spacing[0] * size < 252
    assert 110 < spacing[2] * slices < 140
    head = case.tissue > 0
    width, length = (np.ptp(np.nonzero(head.any((axis, 2)))[0]) for axis in (1, 0))
    assert 125 < width * spacing[0] < 200
    assert 160 < length * spacing[1] < 225
    areas = head.any(0).sum(0)
    assert areas[-1] < 0.8 * areas[len(areas) // 2]  # the vertex is narrower


# The image


def test_tissues_have_their_hounsfield_units():
    bounds = {
        "air": (-1000, -980),
        "bone": (700, 1500),
        "csf": (0, 14),
        "grey": (33, 43),
        "white": (25, 33),
        "ventricle": (0, 15),
    }
    for index in (1, 4):
        case = make_case(PhantomSpec(8, 256, 8, 25, noise=0.0), index)
        for name, (low, high) in bounds.items():
            tissue = (case.tissue == TISSUES.index(name)) & (case.truth == 0)
            tissue &= case.hu > -1010  # not the padding
            if name not in ("csf", "bone"):  # too thin for a core
                tissue = ndimage.binary_erosion(tissue, np.ones((3, 3, 1)))
            # sulci hold a share of brain; only the widest are all CSF
            typical = np.quantile(case.hu[tissue], 0.1 if name == "csf" else 0.5)
            assert low <= typical <= high, (index, name, typical)


def test_bleeds_are_brighter_than_brain_but_no_threshold_finds_them(cases):
    counts = np.zeros((2, 400))
    for case in cases:
        bleed = case.truth > 0
        for k in (0, 1):
            inside = case.hu[bleed == k]
            counts[k] += np.bincount(np.clip(inside + 100, 0, 399).astype(int), minlength=400)
    background, bleeds = counts.cumsum(axis=1)
    median = int(np.searchsorted(bleeds, bleeds[-1] / 2)) - 100
    assert 50 < median < 75
    best = 0.0
    for low in range(100, 200):
        true = bleeds[low + 1 : 399] - bleeds[low]
        drawn = true + background[low + 1 : 399] - background[low]
        best = max(best, float((2 * true / (drawn + bleeds[-1])).max()))
    assert 0.1 < best < 0.55


def test_noise_is_correlated_and_scales_with_the_spec():
    quiet, noisy, louder = (
        make_case(PhantomSpec(1, 256, 4, 5, noise=level), 0) for level in (0.0, 1.0, 2.0)
    )
    white = ndimage.binary_erosion(quiet.tissue == TISSUES.index("white"), np.ones((7, 7, 1)))
    first = (noisy.hu - quiet.hu)[white].std()
    assert 1.5 < first < 6
    assert (louder.hu - quiet.hu)[white].std() == pytest.approx(2 * first, rel=0.1)
    grain = (noisy.hu - quiet.hu)[:, :, 2].astype(float)
    inside = white[:, :, 2]
    pairs = inside[1:] & inside[:-1]
    assert np.corrcoef(grain[1:][pairs], grain[:-1][pairs])[0, 1] > 0.2


def test_a_flip_or_a_rotation_shows(cases):
    """The headrest lies behind, a tube on the patient's right: x runs to the left, y forwards."""
    for case in cases[:6]:
        size = case.hu.shape[0]
        outside = (case.tissue == 0) & (case.hu > -300)
        behind, before = outside[:, : size // 2], outside[:, size // 2 :]
        assert behind.sum() > 1.5 * before.sum()
        quarter = outside[:, size // 8 : size // 2].sum(axis=(1, 2))
        right, left = quarter[: size // 2].sum(), quarter[size // 2 :].sum()
        assert right > left
        codes = nib.aff2axcodes(case.affine)
        assert codes == ("L", "A", "S")


# The bleeds


def shares(cases: list[PhantomCase], key: str, tissues: tuple[str, ...], reach: int) -> float:
    """Share of a class's voxels within `reach` in-plane voxels of these tissues."""
    near = total = 0
    for case in cases:
        bleed = case.truth == LABEL[key]
        if bleed.any():
            there = np.isin(case.tissue, [TISSUES.index(name) for name in tissues])
            if reach:
                there = ndimage.binary_dilation(there, np.ones((2 * reach + 1,) * 2 + (1,)))
            near, total = near + np.count_nonzero(bleed & there), total + np.count_nonzero(bleed)
    return near / total


def test_each_bleed_lies_where_it_must(cases):
    assert shares(cases, "IVH", ("ventricle",), 1) > 0.85
    assert shares(cases, "IPH", ("grey", "white"), 0) > 0.85
    assert shares(cases, "IPH", ("bone",), 2) < 0.1
    assert shares(cases, "SAH", ("csf",), 1) > 0.85
    assert shares(cases, "EDH", ("bone",), 10) > 0.95
    assert shares(cases, "SDH", ("bone", "dura"), 4) > 0.9
    assert shares(cases, "IVH", ("bone",), 3) < 0.05
    for case in cases:  # no bleed lies outside the skull
        assert not (case.truth[np.isin(case.tissue, (0, 1))] > 0).any()


def test_an_epidural_is_a_lens_and_a_subdural_a_crescent(cases):
    """Lenses are thick for their extent; both lie against the skull."""
    ratios: dict[str, list[float]] = {"EDH": [], "SDH": []}
    for case in cases:
        bone = ndimage.distance_transform_edt(
            case.tissue != TISSUES.index("bone"), sampling=(2.5, 2.5, 11)
        )
        for key, found in ratios.items():
            components, n = ndimage.label(case.truth == LABEL[key], np.ones((3, 3, 3)))
            for k in range(1, n + 1):
                voxels = np.argwhere(components == k)
                depth = bone[components == k]
                if len(voxels) > 60 and np.median(depth) < 12:
                    assert depth.min() <= 5, key
                    extent = np.linalg.norm(np.ptp(voxels, axis=0) * (2.5, 2.5, 11))
                    found.append(float(depth.max() / extent))
    assert min(map(len, ratios.values())) >= 3
    assert np.median(ratios["EDH"]) > 1.5 * np.median(ratios["SDH"])


def test_epidurals_stop_at_sutures_and_subdurals_at_the_midline():
    axes = [np.arange(low, high, 2.0, dtype=np.float32)
            for low, high in ((-70, 70), (-90, 84), (-20, 74))]  # fmt: skip
    grid = np.meshgrid(*axes, indexing="ij")
    points = Points(*(axis.reshape(1, -1) for axis in grid)).bounded()
    crossed = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        head = Head(rng)
        shell = head.shell(points)
        brain = head.brain(shell, 0.0)
        lens = Epidural(rng, head, 1, 1.0).distance(brain) < 0
        crescent = Subdural(rng, -1, 1.0).distance(brain) < 0
        for suture in (head.coronal(brain.p)[lens], head.lambdoid(brain.p)[lens]):
            assert suture.min() > -2 or suture.max() < 2
        assert (brain.p.x[crescent] < 2).all()
        assert np.count_nonzero(lens) > 100
        coronal = head.coronal(brain.p)[crescent]
        crossed += coronal.min() < -5 and coronal.max() > 5
    assert crossed >= 4


# The raters


def test_raters_disagree_as_much_as_they_should(cases):
    bounds = {
        "EDH": (0.35, 0.85),
        "IPH": (0.6, 0.92),
        "IVH": (0.5, 0.85),
        "SAH": (0.35, 0.75),
        "SDH": (0.4, 0.8),
    }
    for key, (low, high) in bounds.items():
        scores = []
        for case in cases:
            masks = [labels == LABEL[key] for labels in case.labels.values()]
            scores += [dice(a, b) for a, b in combinations(masks, 2) if a.any() or b.any()]
        assert low < np.mean(scores) < high, (key, np.mean(scores))


def test_raters_draw_nothing_in_heads_without_a_bleed_and_most_of_what_there_is(cases):
    drawn = []
    for case in cases:
        for labels in case.labels.values():
            assert case.truth.any() or not labels.any()
            drawn.append(labels[case.truth > 0] > 0)
    assert 0.6 < np.concatenate(drawn).mean() < 0.95


def test_raters_overlook_small_bleeds_and_take_one_class_for_another():
    small, large, confused = [], [], set()
    for index in range(400):
        rng = rng_for(SPEC, "bleeds", index)
        found = bleeds(scenario(SPEC, index), rng, Head(rng_for(SPEC, "head", index)))
        for rater in raters_of(SPEC, index):
            for bleed, reading in zip(found, readings(SPEC, index, rater, found), strict=True):
                (small if bleed.ml < 3 else large).append(reading.label == 0)
                if reading.label not in (0, bleed.label):
                    confused.add((KEYS[bleed.label - 1], KEYS[reading.label - 1]))
    assert len(small) > 20
    assert np.mean(small) > 0.12
    assert np.mean(large) < 0.06
    assert confused == {("EDH", "SDH"), ("SDH", "EDH"), ("SAH", "IPH"), ("IPH", "SAH")}


def test_raters_are_those_of_the_real_set_about_as_often():
    teams = [raters_of(SPEC, index) for index in range(3000)]
    for rater, share in ((1, 120 / 192), (2, 115 / 192), (3, 1.0), (4, 44 / 192)):
        assert np.mean([rater in team for team in teams]) == pytest.approx(share, abs=0.07)
    assert 0 < np.mean([5 in team for team in teams]) < 0.06
    assert np.mean([len(team) for team in teams]) == pytest.approx(471 / 192, abs=0.2)


# The varied set


VARIED = PhantomSpec(cases=40, size=96, slices=16, seed=25, noise=0.0, varied=True)


@pytest.fixture(scope="module")
def heads() -> list[_Patient]:
    return [_patient(VARIED, index) for index in range(VARIED.cases)]


def first(heads: list[_Patient], part: str) -> tuple[PhantomCase, PhantomCase]:
    """The first head that has `part`, as it is drawn and as the plain set draws it."""
    index = next(k for k, who in enumerate(heads) if getattr(who.head, part) is not None)
    return make_case(VARIED, index), make_case(VARIED._replace(varied=False), index)


def test_nothing_varies_unless_asked_for():
    plain = [_patient(VARIED._replace(varied=False), index) for index in range(20)]
    for who in plain:
        assert (who.head.defect, who.head.opening, who.head.drain) == (None, None, None)
        assert all(bleed.texture.hu > 50 for bleed in who.bleeds)


def test_old_subdurals_are_as_dark_as_brain_or_darker(heads):
    """In the image, not in the recipe alone: median HU of what is drawn as subdural."""
    medians = []
    for index, who in enumerate(heads):
        if any(isinstance(bleed, Subdural) for bleed in who.bleeds):
            case = make_case(VARIED, index)
            medians.append(float(np.median(case.hu[case.truth == LABEL["SDH"]])))
    assert min(medians) < 28
    assert max(medians) > 45
    assert sum(hu < 35 for hu in medians) >= len(medians) / 4


def test_an_old_subdural_has_settled(heads):
    p = Points(*(np.array(v, np.float32) for v in ((-60, -60), (-60, 60), (30, 30))))
    layered = [
        bleed.texture
        for who in heads
        for bleed in who.bleeds
        if isinstance(bleed, Subdural) and bleed.texture.sediment
    ]
    assert layered
    for texture in layered:
        behind, before = texture._replace(spread=0.0)(p)
        assert behind - before > 7


def test_some_old_subdurals_lie_on_both_sides(heads):
    sides = [{b.side for b in who.bleeds if isinstance(b, Subdural) and b.old} for who in heads]
    assert {-1, 1} in sides
    assert {-1} in sides or {1} in sides


def test_variety_moves_the_midline_as_its_bleeds_do(heads):
    """An old subdural is thicker than the fresh one that it stands for, and pushes more."""
    for index, who in enumerate(heads):
        before = _patient(VARIED._replace(varied=False), index)
        if any(isinstance(bleed, Subdural) for bleed in who.bleeds):
            grown = sum(bleed.ml for bleed in who.bleeds) - sum(bleed.ml for bleed in before.bleeds)
            effaced = who.head.effacement - before.head.effacement
            assert np.sign(round(effaced, 6)) in (np.sign(round(grown, 6)), 0)


def test_an_opened_skull_has_no_bone_there(heads):
    left_out = [who.head.opening is not None and not who.head.opening.closed for who in heads]
    index = max(
        (k for k, opened in enumerate(left_out) if opened),
        key=lambda k: heads[k].head.opening.reach,
    )
    varied, plain = make_case(VARIED, index), make_case(VARIED._replace(varied=False), index)
    bone = TISSUES.index("bone")
    lost = (plain.tissue == bone) & (varied.tissue != bone)
    assert lost.sum() > 300
    assert 0 < np.median(varied.hu[lost]) < 70
    assert np.count_nonzero((varied.tissue == bone) & (plain.tissue != bone)) < lost.sum() / 10


def test_a_drain_is_dense_and_no_bleed(heads):
    varied, plain = first(heads, "drain")
    dense = (varied.hu > 90) & (plain.hu < 80) & (plain.tissue > TISSUES.index("bone"))
    assert dense.sum() > 5
    assert (varied.truth[dense] == 0).mean() > 0.5


def test_lost_brain_is_dark_and_no_bleed(heads):
    varied, plain = first(heads, "defect")
    brain = np.isin(plain.tissue, [TISSUES.index(name) for name in ("grey", "white")])
    lost = brain & (varied.tissue == TISSUES.index("csf")) & (varied.truth == 0)
    assert lost.sum() > 100
    assert np.median(varied.hu[lost]) < 26 < np.median(plain.hu[lost])
