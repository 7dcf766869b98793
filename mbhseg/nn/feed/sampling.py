"""Which slices an epoch draws, in which order: a function of (seed, epoch) and nothing else.

So any epoch can be drawn again, and an interrupted run resumes with the same slices.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mbhseg.nn.recipe import SamplingRecipe

Indices = NDArray[np.int64]


def epoch_length(slices: int, recipe: SamplingRecipe) -> int:
    """Number of slices that an epoch draws from a set of `slices`."""
    return slices if recipe.slices_per_epoch is None else recipe.slices_per_epoch


def epoch_order(
    classes: Sequence[str], recipe: SamplingRecipe, *, seed: int, epoch: int
) -> Indices:
    """Indices of the slices that an epoch draws, in order.

    `classes` holds the keys of each slice's classes, as in `IPH,SAH`, empty without a bleed.
    Without `foreground` every slice is drawn once before any is drawn again. With it, that share
    of the draws goes to slices with a bleed, equally often to each class whatever its frequency,
    and the rest to all slices alike; the slices of a class are drawn in turn.
    """
    rng = np.random.default_rng([seed, epoch])
    draws = epoch_length(len(classes), recipe)
    everything = np.arange(len(classes))
    if recipe.foreground is None:
        return _deal(everything, draws, rng)
    by_class: dict[str, list[int]] = {}
    for index, keys in enumerate(classes):
        for key in filter(None, keys.split(",")):
            by_class.setdefault(key, []).append(index)
    bleeding = round(recipe.foreground * draws) if by_class else 0
    # a remainder goes to classes drawn at random, so that it favours none
    turns = rng.permutation(len(by_class)) if by_class else everything[:0]
    shares = [bleeding // len(by_class)] * len(by_class) if by_class else []
    for class_index in turns[: bleeding - sum(shares)]:
        shares[class_index] += 1
    drawn = [
        _deal(np.array(by_class[key]), share, rng)
        for key, share in zip(sorted(by_class), shares, strict=True)
    ]
    drawn.append(_deal(everything, draws - bleeding, rng))
    return rng.permutation(np.concatenate(drawn))


def _deal(cards: Indices, count: int, rng: np.random.Generator) -> Indices:
    """`count` cards from shuffled decks, one deck after the other; none from an empty one."""
    if count == 0 or not cards.size:
        return cards[:0]
    decks = [rng.permutation(cards) for _ in range(-(-count // cards.size))]
    return np.concatenate(decks)[:count]
