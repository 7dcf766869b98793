"""The feed gives what lies in the PNGs, in the order that (seed, epoch) sets, whoever asks."""

import contextlib
import itertools
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mbhseg.classes import KEYS
from mbhseg.errors import InputError
from mbhseg.imaging.masks import read_mask
from mbhseg.imaging.png import read_image, write_png
from mbhseg.imaging.windows import Window
from mbhseg.nn.feed import store as store_module
from mbhseg.nn.feed.loader import TrainingFeed, batches
from mbhseg.nn.feed.store import content_hash, open_store
from tests.conftest import REPO
from tests.nn.conftest import augmentation_of, sampling_of

SIZE = 32
WINDOWS = (Window("seed", 127.5, 255.0),) * 3


@pytest.fixture
def store(toy, tmp_path):
    table, root = toy
    return open_store(table, root, SIZE, tmp_path / "cache")


def feed(store, **changes):
    settings = {
        "batch": 5,
        "sampling": sampling_of(),
        "augmentation": augmentation_of(),
        "windows": WINDOWS,
        "seed": 3,
        "targets": "consensus",
        "patch": None,
        "threads": 1,
        "ahead": 4,
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
    np.testing.assert_array_equal(store.images[[3, 1]][1], store.images[1])
    for wrong in (len(store), -1):
        with pytest.raises(IndexError):
            store.images[wrong]
    assert list(store.subset("valid")) == list(np.flatnonzero(table["subset"] == "valid"))


def test_store_is_keyed_by_content(toy, store, tmp_path: Path):
    table, root = toy
    folder = tmp_path / "cache"
    (kept,) = (path for path in folder.iterdir() if path.is_dir())
    before = (kept / "images.npy").stat().st_mtime_ns
    open_store(table, root, SIZE, folder)
    assert [kept] == [path for path in folder.iterdir() if path.is_dir()]
    assert (kept / "images.npy").stat().st_mtime_ns == before
    digests = table.assign(image_sha256="a", mask_sha256="b")
    changed = table.assign(image_sha256="a", mask_sha256="c")
    assert content_hash(digests, root) != content_hash(changed, root)
    assert content_hash(digests, root / "elsewhere") == content_hash(digests, root)
    other = open_store(digests, root, SIZE, folder)
    assert sum(path.is_dir() for path in folder.iterdir()) == 2
    # the next one removes what nobody has open, and leaves the rest alone
    del other
    third = open_store(changed, root, SIZE, folder)
    assert sum(path.is_dir() for path in folder.iterdir()) == 2
    assert kept.is_dir()
    np.testing.assert_array_equal(third.labels[0], store.labels[0])


def test_processes_that_share_a_folder_decode_once(toy, tmp_path, monkeypatch):
    table, root = toy
    decoded = []

    def slowly(path):
        decoded.append(path)
        return read_image(path)

    monkeypatch.setattr(store_module, "read_image", slowly)
    with ThreadPoolExecutor(4) as pool:  # a lock of a file open twice is as that of two processes
        jobs = [pool.submit(open_store, table, root, SIZE, tmp_path) for _ in range(4)]
        stores = [job.result() for job in jobs]
    assert len(decoded) == len(table)
    for store in stores:
        np.testing.assert_array_equal(store.images[0], read_image(root / table["image"][0]))


def test_nobody_waits_for_the_end_of_anothers_training(toy, tmp_path, monkeypatch):
    """Two that find the folder empty at the same moment both get their store, at once."""
    both_are_in = threading.Barrier(2)
    shared = store_module._shared

    @contextlib.contextmanager
    def together(place):
        with shared(place) as lock:
            both_are_in.wait()
            yield lock

    monkeypatch.setattr(store_module, "_shared", together)
    stores = []  # held: as long as a store is, its lock is
    jobs = [
        threading.Thread(
            target=lambda: stores.append(open_store(*toy, SIZE, tmp_path)), daemon=True
        )
        for _ in range(2)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(60)
    assert len(stores) == 2
    assert not list(tmp_path.glob("*.making"))


def test_a_cache_that_was_cut_is_told(toy, tmp_path):
    store = open_store(*toy, SIZE, tmp_path)
    (place,) = (path for path in tmp_path.iterdir() if path.is_dir())
    with open(place / "labels.npy", "r+b") as file:
        file.truncate(file.seek(0, 2) - 10)
    with pytest.raises(EOFError, match="cut short"):
        store.labels[len(store) - 1]


def test_memory_does_not_grow_with_what_is_read(tmp_path):
    """Resident memory of a fresh process that reads 200 MB of slices, against one that reads 2."""
    code = """
import resource, sys
import numpy as np
from mbhseg.nn.feed.store import StoredPlanes
path, count = sys.argv[1], int(sys.argv[2])
planes = StoredPlanes(path)
for index in range(count):
    planes[index]
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.uint8, (200, 1000, 1000)).flush()
    peaks = []
    for count in ("2", "200"):
        command = [sys.executable, "-c", code, str(tmp_path / "a.npy"), count]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPO)
        peaks.append(int(done.stdout) / 1024)
    assert peaks[1] - peaks[0] < 50


def test_store_without_slices(toy, tmp_path):
    store = open_store(toy[0].iloc[:0], toy[1], SIZE, tmp_path)
    assert len(store) == 0
    assert store.images.shape == (0, SIZE, SIZE, 3)


def test_store_refuses_another_size_and_a_wrong_colour(toy, tmp_path):
    table, root = toy
    with pytest.raises(InputError, match=r"\.png: .*32 x 32.*64 x 64"):
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


AUGMENTED = augmentation_of(
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
    source = feed(store, sampling=sampling_of(foreground=1.0, slices_per_epoch=30))
    assert set(source.order(0)) <= set(np.flatnonzero(one))


def test_devices_share_every_batch_evenly(store):
    sampling = sampling_of(foreground=None, slices_per_epoch=15)
    whole, shared = (feed(store, batch=8, sampling=sampling, devices=n) for n in (1, 4))
    assert whole.slices_per_epoch == 15
    assert shared.slices_per_epoch == 12
    np.testing.assert_array_equal(shared.order(3), whole.order(3)[:12])
    sizes = [len(shared.make_batch(0, step).images) for step in range(shared.steps_per_epoch)]
    assert sizes == [8, 4]


@pytest.fixture
def rated(toy, toy_raters, tmp_path):
    table, root = toy
    shuffled = toy_raters.sample(frac=1, random_state=1)
    return open_store(table, root, SIZE, tmp_path / "cache", raters=shuffled)


def test_raters_lie_apart_from_the_slices(toy, toy_raters, tmp_path):
    """Trainings on the consensus and on the raters share the decoded slices."""
    plain = open_store(*toy, SIZE, tmp_path)
    (place,) = (path for path in tmp_path.iterdir() if path.is_dir())
    before = (place / "images.npy").stat().st_mtime_ns
    both = open_store(*toy, SIZE, tmp_path, raters=toy_raters)
    kinds = sorted(path.name.split("-")[0] for path in tmp_path.iterdir() if path.is_dir())
    assert kinds == ["raters", "slices"]
    assert (place / "images.npy").stat().st_mtime_ns == before
    np.testing.assert_array_equal(both.labels[[0, 5]], plain.labels[[0, 5]])


def masks_of(toy_raters, root, row):
    mine = toy_raters[(toy_raters["case"] == row["case"]) & (toy_raters["slice"] == row["slice"])]
    return [read_mask(root / path) for path in mine.sort_values("annotation")["mask"]]


def test_store_holds_every_raters_mask(toy, toy_raters, rated):
    table, root = toy
    assert len(rated.raters) == len(toy_raters)
    for index, row in table.iterrows():
        wanted = masks_of(toy_raters, root, row)
        np.testing.assert_array_equal(rated.raters[rated.raters_of(index)], wanted)
        drawn = {v for mask in wanted for v in np.unique(mask) if v}
        assert rated.table["drawn"][index] == ",".join(KEYS[v - 1] for v in sorted(drawn))


def test_soft_targets_count_the_raters(toy, toy_raters, rated):
    table, root = toy
    source = feed(rated, targets="soft")
    batch = take(source, 1)[0]
    assert batch.labels.shape == (5, SIZE, SIZE, 6)
    assert batch.labels.dtype == np.uint8
    for index, counts in zip(source.order(0), batch.labels, strict=False):
        masks = masks_of(toy_raters, root, table.iloc[index])
        expected = sum(np.eye(6, dtype=np.uint8)[mask] for mask in masks)
        np.testing.assert_array_equal(counts, expected)


def test_a_random_rater_is_drawn_by_seed_epoch_and_position(toy, toy_raters, rated):
    table, root = toy
    seen: dict[int, set[int]] = {}
    source = feed(rated, targets="random_rater", batch=12)
    everything = take(source, 8)
    for epoch, batch in enumerate(everything):
        for index, labels in zip(source.order(epoch), batch.labels, strict=True):
            masks = masks_of(toy_raters, root, table.iloc[index])
            which = [k for k, mask in enumerate(masks) if np.array_equal(mask, labels)]
            assert which
            seen.setdefault(int(index), set()).update(which[:1])
    for index, which in seen.items():
        assert which == set(range(len(rated.raters_of(index))))  # each of them, in 8 epochs
    later = take(feed(rated, targets="random_rater", batch=12, first_epoch=5, threads=3), 2)
    np.testing.assert_array_equal(later[0].labels, everything[5].labels)
    other = take(feed(rated, targets="random_rater", batch=12, seed=4), 1)
    assert not np.array_equal(other[0].labels, everything[0].labels)


def test_augmented_votes_move_together(rated):
    """The sum over the classes stays the number of raters, wherever a slice has moved."""
    batch = take(feed(rated, targets="soft", augmentation=AUGMENTED), 1)[0]
    sums = batch.labels.sum(axis=-1)
    assert all(len(np.unique(image)) == 1 for image in sums)
    assert (sums > 0).all()


def test_raters_targets_draw_by_what_any_rater_drew(toy, toy_raters, tmp_path):
    table, root = toy
    blank = table.assign(classes="")
    store = open_store(blank, root, SIZE, tmp_path, raters=toy_raters)
    sampling = sampling_of(foreground=1.0, slices_per_epoch=40)
    drawn = feed(store, sampling=sampling, targets="soft").order(0)
    assert all(store.table["drawn"][index] for index in drawn)


def test_a_slice_without_a_rater_is_named(toy, toy_raters, tmp_path):
    table, root = toy
    gone = toy_raters[toy_raters["case"] != table["case"][0]]
    with pytest.raises(InputError, match=rf"{table['case'][0]}, slice 0: .*no rater's"):
        open_store(table, root, SIZE, tmp_path, raters=gone)
    assert not list(tmp_path.iterdir())
