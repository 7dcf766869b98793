"""What an epoch draws depends on (seed, epoch) alone, and balances the classes when asked to."""

from collections import Counter

import numpy as np
import pytest

from mbhseg.nn.feed.sampling import epoch_order
from tests.nn.conftest import sampling_of

CLASSES = ["", "IPH", "", "IPH,SAH", "", "EDH", "IPH", "", "IPH", ""]


def test_plain_epoch_holds_every_slice_once():
    order = epoch_order(CLASSES, sampling_of(), seed=1, epoch=0)
    assert sorted(order) == list(range(len(CLASSES)))
    assert list(order) != list(range(len(CLASSES)))


def test_order_is_keyed_by_seed_and_epoch():
    recipe = sampling_of(foreground=0.5)
    orders = {
        (seed, epoch): tuple(epoch_order(CLASSES, recipe, seed=seed, epoch=epoch))
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(set(orders.values())) == len(orders)
    for (seed, epoch), order in orders.items():
        assert tuple(epoch_order(CLASSES, recipe, seed=seed, epoch=epoch)) == order


def test_long_epoch_repeats_no_slice_before_all_have_come():
    order = epoch_order(CLASSES, sampling_of(slices_per_epoch=25), seed=1, epoch=0)
    assert len(order) == 25
    assert set(Counter(order.tolist()).values()) == {2, 3}


def test_foreground_share_goes_to_all_classes_alike():
    recipe = sampling_of(foreground=0.75, slices_per_epoch=400)
    order = epoch_order(CLASSES, recipe, seed=1, epoch=0)
    drawn = Counter(order.tolist())
    # 300 draws for three classes, 100 for the ten slices alike
    assert len(order) == 400
    assert drawn[5] == 100 + 10  # the only slice with EDH
    assert drawn[3] == 100 + 25 + 10  # the only one with SAH, and one of four with IPH
    assert drawn[1] == drawn[6] == drawn[8] == 25 + 10
    assert all(drawn[i] == 10 for i in (0, 2, 4, 7, 9))


def test_remainders_favour_no_class_for_good():
    recipe = sampling_of(foreground=1.0, slices_per_epoch=1)
    first = [int(epoch_order(CLASSES, recipe, seed=1, epoch=e)[0]) for e in range(60)]
    assert {5, 3}.issubset(first)  # EDH and SAH come although each epoch has one draw


@pytest.mark.parametrize("classes", [["", "", ""], []])
def test_without_a_bleed_all_slices_are_drawn_alike(classes):
    order = epoch_order(classes, sampling_of(foreground=0.9), seed=1, epoch=0)
    assert sorted(order) == list(range(len(classes)))
    assert order.dtype == np.int64
