"""Validation scores: Dice is pooled over a case's slices, and over cases that hold the class."""

import numpy as np
import pandas as pd
import pytest

from mbhseg.nn.feed.store import SliceStore, open_store
from mbhseg.nn.training.pictures import choose_previews
from mbhseg.nn.training.validation import case_dice, class_counts, validate
from tests.nn.conftest import loss_of


def test_class_counts():
    truth = np.array([[0, 1, 1], [2, 0, 5]], np.uint8)
    guess = np.array([[1, 1, 0], [2, 2, 5]], np.uint8)
    found = class_counts(truth, guess)
    assert found[1].tolist() == [2, 2, 1]
    assert found[2].tolist() == [1, 2, 1]
    assert found[3].tolist() == [0, 0, 0]
    assert found[5].tolist() == [1, 1, 1]
    assert found[:, 0].sum() == found[:, 1].sum() == truth.size


def test_dice_over_cases_that_hold_the_class():
    counts = np.zeros((3, 6, 3), int)
    counts[0, 1] = 10, 10, 5  # .5
    counts[1, 1] = 4, 0, 0  # missed: 0
    counts[2, 1] = 0, 50, 0  # spurious: no reference, not counted
    counts[2, 4] = 8, 8, 8  # 1
    found = case_dice(counts)
    assert found["val_dice_EDH"] == pytest.approx(0.25)
    assert found["val_dice_SAH"] == 1
    assert np.isnan(found["val_dice_IPH"])
    assert found["val_dice"] == pytest.approx((0.25 + 1) / 2)


def test_no_bleed_anywhere_gives_no_value():
    assert np.isnan(case_dice(np.zeros((2, 6, 3), int))["val_dice"])


class Reader:
    """In the network's place: tells the label from the grey of the toy slices, a bit unsure."""

    def predict_on_batch(self, images):
        grey = images[..., 0].astype(float)
        labels = np.where(grey > 95, np.rint((grey - 80) / 30), 0).astype(int).clip(0, 5)
        return (0.9 * np.eye(6)[labels] + 0.1 / 6).astype(np.float32)


def test_scores_of_a_known_prediction(toy, tmp_path):
    table, root = toy
    store = open_store(table, root, 32, tmp_path)
    indices = store.subset("valid")
    reader, loss = Reader(), loss_of("cross_entropy")
    found = validate(reader, loss, store, indices, 4, None, keep=[int(indices[3])])
    wanted = np.array(store.labels[indices])
    predicted = reader.predict_on_batch(store.images[indices])
    p = np.take_along_axis(predicted, wanted[..., None].astype(int), axis=-1)
    assert found.scores["val_loss"] == pytest.approx(-np.log(p).mean(), rel=1e-4)
    guess = predicted.argmax(axis=-1)
    cases = table["case"].iloc[indices].to_numpy()
    dice = []
    for case in sorted(set(cases)):
        t, g = wanted[cases == case] == 3, guess[cases == case] == 3
        if t.any():
            dice.append(2 * (t & g).sum() / (t.sum() + g.sum()))
    assert found.scores["val_dice_IVH"] == pytest.approx(np.mean(dice))
    assert list(found.kept) == [indices[3]]
    np.testing.assert_array_equal(found.kept[int(indices[3])], guess[3])


def test_scores_do_not_depend_on_the_batch(toy, tmp_path):
    store = open_store(*toy, 32, tmp_path)
    loss = loss_of("cross_entropy")
    one, other = (validate(Reader(), loss, store, store.subset("valid"), b, None) for b in (1, 5))
    assert one.scores == pytest.approx(other.scores, rel=1e-5)


def test_no_slices_give_no_scores(toy, tmp_path):
    store = open_store(*toy, 32, tmp_path)
    found = validate(Reader(), loss_of("dice"), store, store.subset("nothing"), 4, None)
    assert all(np.isnan(value) for value in found.scores.values())


def test_previews_take_the_classes_in_turn_from_different_cases():
    rows = [
        ("a", 0, "IPH"),
        ("a", 1, "EDH,IPH"),
        ("b", 0, "EDH,SDH"),
        ("b", 1, "IPH,SAH"),
        ("c", 0, ""),
        ("c", 1, "IVH"),
    ]
    table = pd.DataFrame(rows, columns=["case", "slice", "classes"])
    store = SliceStore(table, np.zeros((6, 4, 4, 3), np.uint8), np.zeros((6, 4, 4), np.uint8))
    everything = np.arange(6)
    # EDH from a; IPH from another case, where it comes with SAH; IVH from c
    assert choose_previews(store, everything, 3) == [1, 3, 5]
    assert sorted(choose_previews(store, everything, 100)) == [0, 1, 2, 3, 5]
    assert choose_previews(store, everything[4:5], 3) == []
    assert choose_previews(store, everything, 0) == []
