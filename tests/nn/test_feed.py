"""The feed gives what lies in the PNGs, in the order that (seed, epoch) sets, whoever asks."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mbhseg.errors import InputError
from mbhseg.nn.feed import TrainingFeed, batches
from mbhseg.nn.recipe import AugmentationRecipe, SamplingRecipe
from mbhseg.nn.store import content_hash, open_store
from mbhseg.raster import read_mask
from mbhseg.slices import read_image, write_png
from mbhseg.windows import Window

SIZE = 32
WINDOWS = (Window("seed", 127.5, 255.0),) * 3


@pytest.fixture
def store(toy, tmp_path):
    table, root = toy
    return open_store(table, root, SIZE, tmp_path / "cache")


def feed(store, **changes):
    settings = {
        "batch": 5,
        "sampling": SamplingRecipe(),
        "augmentation": AugmentationRecipe(),
        "windows": WINDOWS,
        "seed": 3,
    }
    return TrainingFeed(store, store.subset("train"), **(settings | changes))


def take(feed, count):
    try:
        return list(itertools.islice(iter(feed), count))
    finally:
        feed.close()


def test_store_holds_the_pixels_of_the_pngs(toy, store):
    table, root = toy
    assert len(store) == len(table)
    for index, row in table.iterrows():
        np.testing.assert_array_equal(store.images[index], read_image(root / row["image"]))
        np.testing.assert_array_equal(store.labels[index], read_mask(root / row["mask"]))
    assert isinstance(store.images, np.memmap)
    assert not store.images.flags.writeable
    assert list(store.subset("valid")) == list(np.flatnonzero(table["subset"] == "valid"))


def test_store_is_keyed_by_content(toy, store, tmp_path: Path):
    table, root = toy
    folder = tmp_path / "cache"
    (kept,) = folder.iterdir()
    before = (kept / "images.npy").stat().st_mtime_ns
    open_store(table, root, SIZE, folder)
    assert [kept] == list(folder.iterdir())
    assert (kept / "images.npy").stat().st_mtime_ns == before
    digests = table.assign(image_sha256="a", mask_sha256="b")
    changed = table.assign(image_sha256="a", mask_sha256="c")
    assert content_hash(digests, root) != content_hash(changed, root)
    assert content_hash(digests, root / "elsewhere") == content_hash(digests, root)
    open_store(digests, root, SIZE, folder)
    assert len(list(folder.iterdir())) == 2


def test_store_without_slices(toy, tmp_path):
    store = open_store(toy[0].iloc[:0], toy[1], SIZE, tmp_path)
    assert len(store) == 0
    assert store.images.shape == (0, SIZE, SIZE, 3)


def test_store_refuses_another_size_and_a_wrong_colour(toy, tmp_path):
    table, root = toy
    with pytest.raises(InputError, match="is 32 x 32 pixels and not 64 x 64"):
        open_store(table, root, 64, tmp_path / "a")
    assert not any((tmp_path / "a").iterdir())
    write_png(tmp_path / "mask.png", np.full((SIZE, SIZE, 3), 7, np.uint8))
    odd = table.iloc[:1].assign(
        image=str(root / table["image"][0]), mask=str(tmp_path / "mask.png")
    )
    with pytest.raises(InputError, match=r"colour \(7, 7, 7\)"):
        open_store(odd, root, SIZE, tmp_path / "b")


def test_an_epoch_gives_every_training_slice_once(toy, store):
    table, root = toy
    source = feed(store)
    assert source.steps_per_epoch == 3  # 12 slices in batches of 5
    epoch = take(source, 3)
    assert [len(batch.images) for batch in epoch] == [5, 5, 2]
    images = np.concatenate([batch.images for batch in epoch])
    labels = np.concatenate([batch.labels for batch in epoch])
    order = source.order(0)
    assert sorted(order) == sorted(store.subset("train"))
    for position, index in enumerate(order):
        row = table.iloc[index]
        np.testing.assert_array_equal(images[position], read_image(root / row["image"]))
        np.testing.assert_array_equal(labels[position], read_mask(root / row["mask"]))


AUGMENTED = AugmentationRecipe(
    flip_left_right=0.5, affine=1.0, rotation_degrees=20, intensity=1.0, hu_noise=5
)


@pytest.mark.parametrize("changes", [{"threads": 3}, {"ahead": 1}, {"ahead": 9}])
def test_batches_do_not_depend_on_threads(store, changes):
    plain = take(feed(store, augmentation=AUGMENTED), 8)
    other = take(feed(store, augmentation=AUGMENTED, **changes), 8)
    for a, b in zip(plain, other, strict=True):
        np.testing.assert_array_equal(a.images, b.images)
        np.testing.assert_array_equal(a.labels, b.labels)


def test_any_batch_can_be_made_again_and_any_epoch_begun_with(store):
    everything = take(feed(store, augmentation=AUGMENTED), 9)
    np.testing.assert_array_equal(
        feed(store, augmentation=AUGMENTED).make_batch(2, 1).images, everything[7].images
    )
    resumed = take(feed(store, augmentation=AUGMENTED, first_epoch=1), 6)
    for a, b in zip(everything[3:], resumed, strict=True):
        np.testing.assert_array_equal(a.images, b.images)


def test_epochs_and_seeds_differ(store):
    source = feed(store)
    orders = {tuple(source.order(epoch)) for epoch in range(4)}
    orders |= {tuple(feed(store, seed=4).order(epoch)) for epoch in range(4)}
    assert len(orders) == 8


def test_closed_feed_ends(store):
    source = feed(store)
    running = iter(source)
    next(running)
    source.close()
    assert next(running, None) is None


def test_plain_batches_keep_order(store):
    found = list(batches(store, [4, 2, 0], 2))
    assert [part.tolist() for part, _ in found] == [[4, 2], [0]]
    np.testing.assert_array_equal(found[0][1].images, store.images[[4, 2]])
    np.testing.assert_array_equal(found[1][1].labels, store.labels[[0]])
    assert list(batches(store, [], 2)) == []


def test_classes_of_the_table_decide_what_is_drawn(toy, tmp_path):
    table, root = toy
    one = table["case"] == table["case"][0]
    sparse: pd.DataFrame = table.assign(classes=table["classes"].where(one, ""))
    store = open_store(sparse, root, SIZE, tmp_path)
    source = feed(store, sampling=SamplingRecipe(foreground=1.0, slices_per_epoch=30))
    assert set(source.order(0)) <= set(np.flatnonzero(one))
