"""The organisers' scores against a plain transcription of their tool on dense volumes."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from mbhseg.metrics.organisers import (
    COLUMNS,
    VERSIONS,
    confusion_of,
    group,
    match,
    organisers_scores,
    pair_dice,
    rules_of,
)

THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9)
SMALL = 1e-8


# --- the reference: the tool's arithmetic, written out on whole arrays


def tool_config(raters, version):
    classes = sorted({int(x) for labels in raters for x in np.unique(labels)})
    background = sum((labels == 0).sum() for labels in raters) / sum(r.size for r in raters)
    exclude = 0 in classes and background > 0.5
    if version == "v1":
        multi = classes not in ([0], [1], [0, 1])
        return {"multi": multi, "C": max(classes) + 1, "exclude": exclude}
    return {"multi": True, "C": max(max(classes) + 1, 6), "exclude": exclude}


def tool_dice_binary(rater, prediction):
    prediction = prediction > 0.5
    return (2 * (rater * prediction).sum() + SMALL) / (rater.sum() + prediction.sum() + SMALL)


def tool_dice_multi(rater, prediction, config, version):
    classes = [int(c) for c in np.unique(rater)]
    if version == "v3" and config["exclude"] and not any(c > 0 for c in classes):
        false = int(((prediction > 0) & (rater == 0)).sum())
        return 0.0 if false > 100 else 2 * (100 - false) / (200 - false)
    prediction = np.clip(prediction, 0, config["C"] - 1)
    dices = []
    for c in classes:
        if c >= (1 if config["exclude"] else 0):
            both = ((rater == c) & (prediction == c)).sum()
            total = (rater == c).sum() + (prediction == c).sum()
            dices.append((2 * both + SMALL) / (total + SMALL))
    return float(np.mean(dices)) if dices else 0.0


def tool_dices(raters, predictions, version):
    config = tool_config(raters, version)
    table = np.array(
        [
            [
                tool_dice_multi(rater, prediction, config, version)
                if config["multi"]
                else tool_dice_binary(rater, prediction)
                for prediction in predictions
            ]
            for rater in raters
        ]
    )
    pairs = dict(zip(*linear_sum_assignment(1 - table), strict=True))
    each = [table[i, pairs[i]] if i in pairs else table[i].max() for i in range(len(raters))]
    return (
        table,
        {
            "dice_max": table.max(0).mean(),
            "dice_max_reverse": table.max(1).mean(),
            "dice_match": np.mean(each),
            "dice_each_mean": np.mean(each),
        },
        each,
    )


def tool_distance(first, second, n_classes):
    overlaps = [
        ((first == c) & (second == c)).sum() / (((first == c) | (second == c)).sum() + SMALL)
        for c in range(1, n_classes)
    ]
    return 1 - np.mean(overlaps)


def tool_ged(raters, predictions, version):
    predictions = [(prediction > 0.5).astype(int) for prediction in predictions]
    rated = {int(x) for labels in raters for x in np.unique(labels)} - {0}
    predicted = {int(x) for labels in predictions for x in np.unique(labels)} - {0}
    if not rated and not predicted:
        return 0.0
    if not rated or not predicted:
        return 1.0
    n_classes = max(tool_config(raters, version)["C"], max(rated | predicted) + 1)

    def mean(xs, ys):
        return np.mean([tool_distance(x, y, n_classes) for x in xs for y in ys])

    return 2 * mean(raters, predictions) - mean(raters, raters) - mean(predictions, predictions)


def tool_dice_soft(raters, predictions):
    rated = np.mean(np.stack(raters).astype("f4"), 0)
    predicted = np.mean(np.stack(predictions).astype("f4"), 0)
    dices = []
    for threshold in THRESHOLDS:
        first, second = rated > np.float32(threshold), predicted > np.float32(threshold)
        both = (first & second).sum()
        dices.append((2 * both + SMALL) / (first.sum() + second.sum() + SMALL))
    return np.mean(dices)


# --- random cases


def random_case(seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Raters and predictions that share a truth; some empty, binary, dense or without 0."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(3, 9, 3))
    truth = rng.choice(rng.integers(1, 6, 2), shape) * (rng.random(shape) < rng.random())
    kind = seed % 8

    def volume(is_rater: bool) -> np.ndarray:
        labels = np.where(rng.random(shape) < 0.6, truth, rng.integers(0, 6, shape))
        labels = labels * (rng.random(shape) < rng.random())
        if kind == 1 and is_rater:
            labels = labels > 0  # binary raters: another path of v1
        elif kind == 2 and rng.random() < 0.5:
            labels = labels * 0
        elif kind == 3 and is_rater:
            labels = np.minimum(labels, 2)  # predictions hold labels beyond the raters'
        elif kind == 4:
            labels = rng.integers(1, 6, shape)  # no background at all
        elif kind == 5 and is_rater:
            labels = labels * 0
        elif kind == 6 and is_rater:
            labels = np.ones(shape)
        elif kind == 7 and not is_rater:
            labels = labels * 0
        return np.asarray(labels, np.uint8)

    n_raters, n_predictions = rng.integers(1, 5, 2)
    return (
        [volume(True) for _ in range(n_raters)],
        [volume(False) for _ in range(n_predictions)],
    )


@pytest.mark.parametrize("block", range(10))
def test_agrees_with_the_tool(block):
    for seed in range(block * 40, block * 40 + 40):
        raters, predictions = random_case(seed)
        scores = organisers_scores(raters, predictions)
        assert tuple(scores) == COLUMNS
        expected = {"organisers_dice_soft": tool_dice_soft(raters, predictions)}
        for version in VERSIONS:
            table, dices, each = tool_dices(raters, predictions, version)
            dices["ged"] = tool_ged(raters, predictions, version)
            expected |= {f"organisers_{version}_{name}": v for name, v in dices.items()}
            np.testing.assert_allclose(match(table), each, atol=1e-12)
        assert scores == pytest.approx(expected, rel=0, abs=1e-6), seed


def test_the_random_cases_reach_every_path():
    paths = set()
    for seed in range(400):
        raters, predictions = random_case(seed)
        groups = group(raters, predictions)
        for version in VERSIONS:
            rules = rules_of(groups, version)
            empty_rater = not all(labels.any() for labels in raters)
            paths.add((version, rules.multiclass, rules.skip_background, empty_rater))
        assert groups.background >= 0
    # v3 is always multi-class; without background to skip no rater can be empty alone often
    assert {(v, m, s) for v, m, s, _ in paths} == {
        ("v1", True, True), ("v1", True, False), ("v1", False, True), ("v1", False, False),
        ("v3", True, True), ("v3", True, False),
    }  # fmt: skip
    assert ("v3", True, True, True) in paths


@pytest.mark.parametrize(("false", "expected"), [(0, 1.0), (40, 0.75), (100, 0.0), (101, 0.0)])
def test_false_positives_of_an_empty_rater(false, expected):
    rater = np.zeros((10, 10, 6), np.uint8)
    prediction = np.zeros_like(rater)
    prediction.ravel()[:false] = 3
    scores = organisers_scores([rater], [prediction])
    assert scores["organisers_v3_dice_match"] == pytest.approx(expected)


def test_known_faults_of_the_tool_are_kept():
    rater = np.zeros((12, 12, 3), np.uint8)
    rater[2:6, 2:6] = 5
    wrong = np.where(rater == 5, 1, 0).astype(np.uint8)
    exact = organisers_scores([rater], [rater.copy()])
    # a perfect SDH prediction and a wholly wrong one have the same GED
    assert exact["organisers_v3_ged"] == pytest.approx(0.4, abs=1e-6)
    assert organisers_scores([rater], [wrong])["organisers_v3_ged"] == pytest.approx(0.4, abs=1e-6)
    # a class that no rater labelled costs no Dice
    invented = rater.copy()
    invented[8:, 8:] = 2
    assert organisers_scores([rater], [invented])["organisers_v3_dice_match"] == pytest.approx(1)


def test_one_prediction_makes_three_scores_equal():
    raters, predictions = random_case(0)
    scores = organisers_scores(raters, predictions[:1])
    for version in VERSIONS:
        values = {
            scores[f"organisers_{version}_{name}"]
            for name in ("dice_match", "dice_max_reverse", "dice_each_mean")
        }
        assert len(values) == 1


def test_nothing_drawn_by_anybody():
    empty = np.zeros((5, 4, 3), np.uint8)
    scores = organisers_scores([empty, empty], [empty])
    assert scores["organisers_v1_dice_match"] == scores["organisers_v3_dice_match"] == 1.0
    assert scores["organisers_v3_ged"] == 0.0


def test_memory_order_and_background_do_not_matter():
    raters, predictions = random_case(8)
    plain = organisers_scores(raters, predictions)
    assert organisers_scores([np.asfortranarray(r) for r in raters], predictions) == plain
    groups = group(raters, predictions)
    whole = confusion_of(raters[0].ravel(), predictions[0].ravel(), 0)
    reduced = confusion_of(groups.raters[0], groups.predictions[0], groups.background)
    np.testing.assert_array_equal(whole, reduced)
    rules = rules_of(groups, "v3")
    assert pair_dice(whole, rules) == pair_dice(reduced, rules)


def test_bad_arguments():
    volume = np.zeros((2, 2, 2), np.uint8)
    with pytest.raises(ValueError, match="at least one rater"):
        organisers_scores([], [volume])
    with pytest.raises(ValueError, match="version 'v2'"):
        rules_of(group([volume], [volume]), "v2")
