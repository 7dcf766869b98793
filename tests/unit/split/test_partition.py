"""Splits: no leaks, no patient is lost, classes are in proportion, order does not matter."""

import math
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbhseg.classes import ANY, KEYS
from mbhseg.config.run_names import SUBSETS
from mbhseg.errors import InputError
from mbhseg.split import partition

SHARES = {"EDH": 26, "IPH": 147, "IVH": 125, "SAH": 124, "SDH": 101}  # of 240 scans


def table_of(rows: list[tuple[str, str, str]], status: str = "ok") -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["case", "patient", "classes"])
    return frame.assign(status=status)


def cohort(n: int, seed: int) -> pd.DataFrame:
    """`n` patients with the class frequencies of MBH-Seg25; the last one has two scans."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        drawn = ",".join(key for key in KEYS if rng.random() < SHARES[key] / 240)
        rows.append((f"ID_{i:04x}_ID_0", f"ID_{i:04x}", drawn))
    return table_of([*rows, (f"ID_{n - 1:04x}_ID_1", f"ID_{n - 1:04x}", "EDH")])


@st.composite
def cohorts(draw: st.DrawFn) -> pd.DataFrame:
    """6 to 30 patients with one to three scans each and any classes."""
    classes = st.lists(st.sampled_from(KEYS), unique=True).map(",".join)
    scans = draw(st.lists(st.lists(classes, min_size=1, max_size=3), min_size=6, max_size=30))
    return table_of(
        [
            (f"ID_{patient:02x}_ID_{scan:x}", f"ID_{patient:02x}", drawn)
            for patient, drawn_scans in enumerate(scans)
            for scan, drawn in enumerate(drawn_scans)
        ]
    )


@settings(max_examples=60, deadline=None)
@given(cohorts(), st.integers(1, 5), st.floats(0.05, 0.5), st.floats(0.05, 0.4), st.integers(0, 9))
def test_folds_partition_the_patients(
    cases: pd.DataFrame, folds: int, test: float, valid: float, seed: int
) -> None:
    tables = partition.make(cases, folds=folds, test=test, valid=valid, seed=seed)
    assert len(tables) == folds
    held_out = set(partition.members(tables[0], "test"))
    validated: list[str] = []
    for table in tables:
        partition.check_leakage(table)
        assert partition.leaks(table).empty
        assert list(table["case"]) == sorted(cases["case"])
        assert set(table["subset"]) == {"train", "valid", "test"}
        assert set(partition.members(table, "test")) == held_out
        validated += partition.members(table, "valid")
    assert len(validated) == len(set(validated))
    assert held_out.isdisjoint(validated)
    if folds > 1:
        assert held_out.union(validated) == set(cases["case"])
    n = cases["patient"].nunique()
    sizes = [table.drop_duplicates("patient")["subset"].value_counts() for table in tables]
    assert sizes[0]["test"] == min(max(1, math.floor(test * n + 0.5)), n - max(folds, 2))
    if folds > 1:
        assert max(size["valid"] for size in sizes) - min(size["valid"] for size in sizes) <= 1


@settings(max_examples=40, deadline=None)
@given(cohorts(), st.randoms(use_true_random=False), st.integers(1, 4))
def test_order_of_rows_does_not_matter(cases: pd.DataFrame, random: object, folds: int) -> None:
    order = list(range(len(cases)))
    random.shuffle(order)  # type: ignore[attr-defined]
    options = {"folds": folds, "test": 0.2, "valid": 0.2, "seed": 3}
    straight = partition.make(cases, **options)
    shuffled = partition.make(cases.iloc[order], **options)
    for one, other in zip(straight, shuffled, strict=True):
        pd.testing.assert_frame_equal(one, other)


@pytest.mark.parametrize("seed", range(5))
def test_classes_are_in_proportion(seed: int) -> None:
    """No subset is off by two patients in any class, where a blind split is off by up to ten."""
    cases = cohort(239, seed)
    by_patient = cases.groupby("patient")["classes"].apply(",".join)
    shows = pd.DataFrame({key: by_patient.str.contains(key) for key in KEYS}).astype(int)
    shows["none"] = (shows.sum(axis=1) == 0).astype(int)
    for table in partition.make(cases, folds=5, test=0.2, valid=0.1, seed=seed):
        subset = table.drop_duplicates("patient").set_index("patient")["subset"]
        for name in SUBSETS:
            inside = subset == name
            off = shows[inside].sum() - shows.sum() * inside.mean()
            assert off.abs().max() < 2, (name, off.to_dict())


def test_sizes_are_the_stated_shares() -> None:
    table = partition.make(cohort(240, 0), folds=1, test=0.05, valid=0.15, seed=137)[0]
    sizes = table.drop_duplicates("patient")["subset"].value_counts()
    assert sizes.to_dict() == {"train": 192, "valid": 36, "test": 12}


def test_seed_decides() -> None:
    cases = cohort(40, 0)
    options = {"folds": 2, "test": 0.2, "valid": 0.2}
    first, again, other = (partition.make(cases, seed=seed, **options) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first[1], again[1])
    assert not first[1].equals(other[1])


def test_a_known_split_stays() -> None:
    """The exact split of a fixed cohort: if it changes, every result changes."""
    cases = table_of([(f"ID_{i}_ID_0", f"ID_{i}", KEYS[i % 5]) for i in range(10)])
    table = partition.make(cases, folds=2, test=0.2, valid=0.2, seed=137)[0]
    assert "".join(name[:2] for name in table["subset"]) == "tevavavatrtrtetrtrva"


def test_test_set_does_not_depend_on_the_folds() -> None:
    cases = cohort(100, 1)
    one, five = (
        partition.make(cases, folds=folds, test=0.2, valid=0.3, seed=5)[0] for folds in (1, 5)
    )
    assert partition.members(one, "test") == partition.members(five, "test")


def test_one_patient_more_moves_few() -> None:
    before, after = cohort(100, 2), cohort(100, 2)
    after.loc[len(after)] = ["ID_ffff_ID_0", "ID_ffff", "IPH", "ok"]
    options = {"folds": 1, "test": 0.2, "valid": 0.2, "seed": 0}
    one = partition.make(before, **options)[0].set_index("case")["subset"]
    two = partition.make(after, **options)[0].set_index("case")["subset"]
    assert (two[one.index] != one).mean() < 0.25  # a reshuffle moves about half


def test_excluded_cases_are_left_out() -> None:
    cases = cohort(10, 0)
    cases.loc[cases["case"] == "ID_0003_ID_0", "status"] = "excluded"
    table = partition.make(cases, folds=1, test=0.2, valid=0.2, seed=0)[0]
    assert set(cases["case"]) - set(table["case"]) == {"ID_0003_ID_0"}


def test_classes_of_the_table_may_be_missing_values() -> None:
    cases = cohort(8, 0).assign(classes=np.nan)
    assert len(partition.make(cases, folds=1, test=0.2, valid=0.2, seed=0)[0]) == len(cases)


@pytest.mark.parametrize(("n", "folds"), [(2, 1), (3, 3), (5, 5)])
def test_too_few_patients(n: int, folds: int) -> None:
    cases = cohort(n, 0)
    with pytest.raises(InputError, match=rf"^split: {n} patients .*split\.file"):
        partition.make(cases, folds=folds, test=0.2, valid=0.2, seed=0)
    enough = cohort(max(folds, 2) + 1, 0)
    table = partition.make(enough, folds=folds, test=0.2, valid=0.2, seed=0)[-1]
    assert set(table["subset"]) == {"train", "valid", "test"}


def test_nothing_usable() -> None:
    with pytest.raises(InputError, match=r"^split: .*usable case"):
        partition.make(table_of([], "ok"), folds=1, test=0.2, valid=0.2, seed=0)


class TestBySlice:
    CASES = cohort(10, 0)
    SLICES = pd.DataFrame(
        [(case, z) for case in CASES["case"] for z in range(3, 13)], columns=["case", "slice"]
    )
    OPTIONS: ClassVar = {"folds": 1, "test": 0.05, "valid": 0.15, "seed": 137, "by": "slice"}

    def test_fractions_and_leaks(self) -> None:
        (table,) = partition.make(self.CASES, slices=self.SLICES, **self.OPTIONS)
        assert table["subset"].value_counts().to_dict() == {"train": 87, "valid": 17, "test": 6}
        pd.testing.assert_frame_equal(table[["case", "slice"]], self.SLICES, check_dtype=False)
        found = partition.leaks(table)
        assert len(found) >= 5  # 23 slices of 10 patients are not trained on
        assert found["subsets"].str.startswith("train,").all()
        with pytest.raises(InputError, match=r"^split: patient ID_.* train .* \d+ more"):
            partition.check_leakage(table)
        members = [partition.members(table, name) for name in SUBSETS]
        listed = [(case, z) for part in members for case, zs in part.items() for z in zs or ()]
        assert sorted(listed) == list(self.SLICES.itertuples(index=False, name=None))

    def test_order_and_excluded(self) -> None:
        (table,) = partition.make(self.CASES, slices=self.SLICES, **self.OPTIONS)
        shuffled = self.SLICES.sample(frac=1, random_state=0)
        (again,) = partition.make(self.CASES, slices=shuffled, **self.OPTIONS)
        pd.testing.assert_frame_equal(table, again)
        cases = self.CASES.assign(status=["excluded", *["ok"] * 10])
        (fewer,) = partition.make(cases, slices=self.SLICES, **self.OPTIONS)
        assert len(fewer) == 100

    def test_misuse(self) -> None:
        with pytest.raises(ValueError, match="one fold"):
            partition.make(self.CASES, slices=self.SLICES, **(self.OPTIONS | {"folds": 2}))
        with pytest.raises(InputError, match=r"^split: 2 slices"):
            partition.make(self.CASES, slices=self.SLICES[:2], **self.OPTIONS)


class TestExternal:
    """A set on which the models of another set are tested."""

    CASES = table_of([("a1", "A", "EDH"), ("b1", "B", ""), ("b2", "B", "SDH")]).assign(
        image_sha256=["1", "2", "3"]
    )
    SOURCE_CASES = table_of([("x1", "X", ""), ("y1", "Y", ""), ("z1", "Z", "")]).assign(
        image_sha256=["7", "8", "9"]
    )
    SOURCE = pd.DataFrame(
        [("x1", "X", "train"), ("y1", "Y", "valid"), ("z1", "Z", "test")],
        columns=["case", "patient", "subset"],
    )

    def check(self, source: pd.DataFrame, source_cases: pd.DataFrame) -> None:
        (table,) = partition.only_test(self.CASES, 1)
        partition.check_external(table, source, self.CASES, source_cases, "mine.tsv")

    def test_every_usable_case_is_tested_on(self) -> None:
        bad = table_of([("c1", "C", "")], "excluded")
        one, two = partition.only_test(pd.concat([bad, self.CASES]), 2)
        pd.testing.assert_frame_equal(one, two)
        assert partition.members(one, "test") == {"a1": None, "b1": None, "b2": None}
        assert len(one) == 3
        with pytest.raises(InputError, match=r"^split: .*usable case"):
            partition.only_test(bad, 1)

    def test_strangers_pass(self) -> None:
        self.check(self.SOURCE, self.SOURCE_CASES)

    @pytest.mark.parametrize("row", [0, 1])
    def test_a_patient_of_train_or_valid_is_named(self, row: int) -> None:
        source = self.SOURCE.copy()
        source.loc[row, "patient"] = "B"
        line = r"^mine.tsv: patient B .* 1 more cases"
        with pytest.raises(InputError, match=line) as caught:
            self.check(source, self.SOURCE_CASES)
        assert "test set" in caught.value.remedy

    @pytest.mark.parametrize("row", [0, 1])
    def test_a_scan_under_another_name_is_named(self, row: int) -> None:
        source_cases = self.SOURCE_CASES.copy()
        source_cases.loc[row, "image_sha256"] = "1"
        with pytest.raises(InputError, match=r"^mine.tsv: scan a1 "):
            self.check(self.SOURCE, source_cases)

    def test_the_sources_own_test_cases_may_be_in_both(self) -> None:
        source_cases = self.SOURCE_CASES.assign(image_sha256=["7", "8", "1"])
        self.check(self.SOURCE.assign(patient=["X", "Y", "A"]), source_cases)


def test_leakage_is_named() -> None:
    table = pd.DataFrame(
        [("a1", "A", "train"), ("a2", "A", "test"), ("b1", "B", "valid")],
        columns=["case", "patient", "subset"],
    )
    with pytest.raises(InputError, match=r"^fold0\.tsv: patient A .*train.*test") as error:
        partition.check_leakage(table, "fold0.tsv")
    assert "more" not in str(error.value)
    assert partition.leaks(table).to_dict("records") == [
        {"patient": "A", "subsets": "train,test", "rows": 2}
    ]
    assert partition.members(table, "train") == {"a1": None}


class TestBalance:
    CASES = pd.DataFrame({"case": ["a1", "a2", "b1"], "n_slices": [4, 3, 2]})
    SLICES = pd.DataFrame(
        [
            ("a1", 0, 1, 0, 9, 0, 0, 0),
            ("a1", 0, 2, 0, 0, 0, 7, 0),
            ("a1", 2, 2, 0, 1, 0, 0, 0),
            ("b1", 1, 3, 5, 0, 0, 0, 0),
            ("zz", 1, 3, 5, 0, 0, 0, 0),
        ],
        columns=["case", "slice", "rater", *KEYS],
    )

    def test_whole_cases(self) -> None:
        table = pd.DataFrame(
            [("a1", "A", "train"), ("a2", "A", "train"), ("b1", "B", "test")],
            columns=["case", "patient", "subset"],
        )
        balance = partition.balance(table, self.CASES, self.SLICES)
        counts = {
            (row["subset"], row["class"]): (row["patients"], row["cases"], row["slices"])
            for row in balance.to_dict("records")
        }
        assert counts["train", "IPH"] == (1, 1, 2)
        assert counts["train", "SAH"] == (1, 1, 1)
        assert counts["train", "EDH"] == (0, 0, 0)
        assert counts["train", ANY] == (1, 1, 2)
        assert counts["train", partition.ALL] == (1, 2, 7)
        assert counts["test", "EDH"] == counts["test", ANY] == (1, 1, 1)
        assert counts["test", partition.ALL] == (1, 1, 2)
        assert set(balance["subset"]) == {"train", "test"}

    def test_slices(self) -> None:
        table = pd.DataFrame(
            [("a1", "A", "train", 0), ("a1", "A", "valid", 2), ("a1", "A", "train", 3)],
            columns=["case", "patient", "subset", "slice"],
        )
        balance = partition.balance(table, self.CASES, self.SLICES).set_index(["subset", "class"])
        assert balance.loc[("train", "IPH"), "slices"] == 1
        assert balance.loc[("valid", "SAH"), "slices"] == 0
        assert balance.loc[("train", partition.ALL), "slices"] == 2

    def test_no_bleed_at_all(self) -> None:
        table = pd.DataFrame([("a1", "A", "train")], columns=["case", "patient", "subset"])
        balance = partition.balance(table, self.CASES, self.SLICES[:0]).set_index("class")
        assert balance.loc[partition.ALL, "slices"] == 4
        assert balance.loc[[*KEYS, ANY], "slices"].sum() == 0


class TestFromFile:
    CASES = table_of([("a1", "A", ""), ("a2", "A", "IPH"), ("b1", "B", ""), ("c1", "C", "")])

    def read(
        self, rows: list[tuple[object, ...]], columns: str, folds: int = 1
    ) -> list[pd.DataFrame]:
        table = pd.DataFrame(rows, columns=columns.split())
        return partition.from_file(table, self.CASES, folds=folds, where="mine.tsv")

    def test_by_case_and_by_patient(self) -> None:
        by_case = [("c1", "test"), ("a1", "train"), ("b1", "valid"), ("a2", "train")]
        by_patient = [("A", "train"), ("B", "valid"), ("C", "test")]
        (one,) = self.read(by_case, "case subset")
        (two,) = self.read(by_patient, "patient subset")
        pd.testing.assert_frame_equal(one, two)
        assert list(one["subset"]) == ["train", "train", "valid", "test"]

    def test_own_tables_read_back(self) -> None:
        cases = cohort(20, 0)
        tables = partition.make(cases, folds=3, test=0.2, valid=0.2, seed=0)
        joined = pd.concat([table.assign(fold=k) for k, table in enumerate(tables)])
        again = partition.from_file(joined, cases, folds=3, where="mine.tsv")
        for table, same in zip(tables, again, strict=True):
            pd.testing.assert_frame_equal(table, same)

    def test_rows_without_a_fold_hold_in_all(self) -> None:
        rows = [("C", "test", None), ("A", "train", 0), ("B", "valid", 0)]
        rows += [("A", "valid", 1), ("B", "train", 1)]
        zero, one = self.read(rows, "patient subset fold", folds=2)
        assert partition.members(zero, "test") == partition.members(one, "test") == {"c1": None}
        assert list(partition.members(one, "valid")) == ["a1", "a2"]

    def test_external_test_set(self) -> None:
        (table,) = self.read([(p, "test") for p in "ABC"], "patient subset")
        assert set(table["subset"]) == {"test"}

    def test_excluded_cases_may_be_named(self) -> None:
        cases = pd.concat([self.CASES, table_of([("d1", "D", "")], "excluded")])
        rows = pd.DataFrame(
            [("A", "train"), ("B", "valid"), ("C", "test"), ("D", "train")],
            columns=["patient", "subset"],
        )
        (table,) = partition.from_file(rows, cases, folds=1, where="mine.tsv")
        assert "d1" not in set(table["case"])

    @pytest.mark.parametrize(
        ("rows", "columns", "message"),
        [
            ([("A", "train"), ("B", "valid")], "patient subset", "subset.* patient C"),
            ([("a1", "train")], "case subset", "subset.* case a2.* 2 more"),
            ([("X", "train")], "patient subset", "unknown patient 'X'"),
            ([("A", "training")], "patient subset", "unknown subset 'training'"),
            ([("A", "train"), ("A", "test")], "patient subset", "patient A .*two subsets"),
            (
                [("a1", "train"), ("a2", "test"), ("b1", "valid"), ("c1", "test")],
                "case subset",
                "patient A .*train.*test",
            ),
            (
                [("A", "train"), ("B", "train"), ("C", "test")],
                "patient subset",
                "valid .*empty",
            ),
            (
                [("A", "valid"), ("B", "valid"), ("C", "test")],
                "patient subset",
                "train .*empty",
            ),
            ([("A", "train")], "who subset", "columns who, subset"),
            ([("a1", "train", 0)], "case subset slice", "column slice"),
            ([("A", "train", 7)], "patient subset fold", "unknown fold '7'"),
            ([("A", "train", "x")], "patient subset fold", "unknown fold 'x'"),
        ],
    )
    def test_faults(self, rows: list[tuple[object, ...]], columns: str, message: str) -> None:
        with pytest.raises(InputError, match=message) as error:
            self.read(rows, columns)
        assert str(error.value).startswith("mine.tsv")

    def test_folds_that_do_not_fit(self) -> None:
        with pytest.raises(InputError, match=r"^mine.tsv: .*column fold .*2 folds"):
            self.read([("A", "train")], "patient subset", folds=2)
        rows = [(p, s, 0) for p, s in zip("ABC", ("train", "valid", "test"), strict=True)]
        with pytest.raises(InputError, match=r"^mine.tsv, fold 1: .*patient A"):
            self.read(rows, "patient subset fold", folds=2)
        rows += [(p, s, 1) for p, s in zip("ABC", ("train", "test", "valid"), strict=True)]
        with pytest.raises(InputError, match=r"^mine.tsv: .*test set differs"):
            self.read(rows, "patient subset fold", folds=2)
