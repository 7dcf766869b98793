"""The whole pipeline on real CT slices in the real archive's layout."""

import cv2
import nibabel as nib
import numpy as np
import pytest

from mbhseg.classes import KEYS
from mbhseg.files import read_json, read_table
from mbhseg.imaging.masks import read_mask
from mbhseg.imaging.nifti import image_array, label_array
from mbhseg.imaging.png import read_image
from mbhseg.inspect.archive import Archive
from mbhseg.prepare.consensus import consensus

pytestmark = pytest.mark.real_ct
RUN = "flexunet-f0-s137"


@pytest.fixture(scope="module")
def volumes(real_ct):
    """HU and majority of every case, straight from the archive."""
    found = {}
    with Archive(real_ct / "MBH_Train_2025_voxel-label.zip") as archive:
        for case, files in archive.cases.items():
            labels = {k: label_array(archive.nifti(m), m) for k, m in files.labels.items()}
            hu = image_array(archive.nifti(files.image))
            found[case] = hu, consensus(labels, "majority")
    return found


def test_images_are_the_slices_they_came_from_and_masks_the_consensus(
    real_ct, workspace, real_config, volumes
):
    workspace.snakemake(
        *("results/real_ct/dataset.tsv", "--config"),
        *("slices={size: 512, channels: [seed]}", "network={levels: 5}"),
        config=real_config,
    )
    root = workspace.root / "results/real_ct"
    table = read_table(root / "dataset.tsv")
    assert len(table) == sum(hu.shape[2] for hu, _ in volumes.values())
    sources = [
        cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        for path in sorted((real_ct / "slices/images").glob("*.png"))
    ]
    matched = 0
    for row in table.itertuples():
        hu, majority = (np.rot90(volume[:, :, row.slice]) for volume in volumes[row.case])
        image, mask = read_image(root / row.image), read_mask(root / row.mask)
        np.testing.assert_array_equal(mask, majority)
        assert (image == image[..., :1]).all()
        inside = (hu >= 0) & (hu <= 255)
        np.testing.assert_array_equal(image[..., 0][inside], hu[inside])
        if inside.any():  # a few slices of the set are air only
            matched += any((image[..., 0] == source)[inside].all() for source in sources)
            assert matched, row.image
    assert matched == sum(
        ((hu >= 0) & (hu <= 255)).any(axis=(0, 1)).sum() for hu, _ in volumes.values()
    )


def test_the_whole_dag_runs_at_256(workspace, real_config, volumes):
    workspace.snakemake(config=real_config)
    assert "Nothing to be done" in workspace.snakemake(config=real_config)
    root = workspace.root / "results/real_ct"
    cases = read_table(root / "inventory/cases.tsv")
    assert len(cases) == 8
    assert cases["patient"].nunique() == 7
    tested = read_table(root / "split/fold0.tsv").query("subset == 'test'")["case"]
    for case in tested:
        scan = nib.load(root / f"predictions/{RUN}/test/{case}.nii.gz")
        assert scan.shape == volumes[case][0].shape
        assert scan.get_data_dtype() == np.uint8
    summary = read_json(root / f"evaluation/{RUN}/summary.json")
    assert set(KEYS) <= set(summary["model"]["consensus"]["classes"])
    assert 0 < read_json(root / f"evaluation/{RUN}/legacy.json")["dice_coef_multiclass"] < 1
    assert (root / "report/index.html").stat().st_size > 10_000
