"""Shards partition the cases, whatever their number."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbhseg.classes import KEYS
from mbhseg.files import write_table
from mbhseg.prepare.shards import kept_planes, shard_of


@given(st.integers(0, 50), st.integers(1, 12))
def test_every_item_is_in_one_shard_and_shards_differ_by_one(n, count):
    shards = [shard_of(range(n), f"{i}-of-{count}") for i in range(1, count + 1)]
    assert sorted(item for shard in shards for item in shard) == list(range(n))
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


@pytest.fixture
def tables(tmp_path):
    usable = pd.DataFrame({"case": ["b", "a"], "n_slices": [4, 3]})
    rows = [("a", 1, 1), ("a", 2, 3), ("b", 0, 3)]
    drawn = pd.DataFrame(rows, columns=["case", "slice", "rater"])
    drawn = drawn.assign(**dict.fromkeys(KEYS, 0)).assign(SAH=5)
    write_table(tmp_path / "usable.tsv", usable)
    write_table(tmp_path / "slices.tsv", drawn)
    return tmp_path / "usable.tsv", tmp_path / "slices.tsv"


def test_planes_follow_the_raters_that_count(tables):
    keep = {"keep": "bleeding", "fraction": 0.0}
    assert kept_planes(*tables, keep, None) == {"a": [1, 2], "b": [0]}
    assert kept_planes(*tables, keep, 1) == {"a": [1], "b": []}
    assert kept_planes(*tables, keep, None, "2-of-2") == {"b": [0]}
    assert kept_planes(*tables, keep | {"keep": "all"}, None) == {"a": [0, 1, 2], "b": [0, 1, 2, 3]}
