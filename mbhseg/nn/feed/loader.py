"""The input pipeline: batches prepared by background threads while the network computes.

A batch depends on (seed, epoch, position in the epoch) only, whatever the number of threads.
"""

import itertools
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mbhseg.imaging.windows import Window
from mbhseg.nn.feed.augment import augment
from mbhseg.nn.feed.sampling import epoch_length, epoch_order
from mbhseg.nn.feed.store import SliceStore
from mbhseg.nn.patches import Patch, draw
from mbhseg.nn.recipe import AugmentationRecipe, SamplingRecipe
from mbhseg.prepare.votes import votes_of

# give the draws of a rater and of a patch streams apart from the augmentation's
_RATER, _PATCH = 1, 2


class Batch(NamedTuple):
    """Network input and target: images uint8 [B, H, W, 3], labels uint8 [B, H, W].

    With soft targets labels are votes: uint8 [B, H, W, 6], the number of raters per class.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]


class TrainingFeed:
    """Endless training batches, epoch after epoch; `seconds_waited` is how long `fit` waited.

    targets: "consensus"; "random_rater", for each draw of a slice one of its raters; or "soft", the
    votes of all its raters. The latter two draw slices by the classes that any rater annotated.
    patch: the part of each augmented slice that is given; None gives whole slices.
    threads, ahead: threads that prepare batches, and how many batches they prepare in advance.
    devices: how many share a batch; an epoch leaves out the slices that they cannot share evenly.

    Iterating starts at batch `first_step` of `first_epoch`. `close` ends the threads.
    """

    def __init__(
        self,
        store: SliceStore,
        indices: Sequence[int] | NDArray[np.int64],
        *,
        batch: int,
        sampling: SamplingRecipe,
        augmentation: AugmentationRecipe,
        windows: Sequence[Window],
        seed: int,
        targets: str,
        patch: Patch | None,
        threads: int,
        ahead: int,
        first_epoch: int = 0,
        first_step: int = 0,
        devices: int = 1,
    ) -> None:
        self._store, self._indices = store, np.asarray(indices, np.int64)
        self._targets, self._patch = targets, patch
        column = "classes" if targets == "consensus" else "drawn"
        self._classes = [str(keys) for keys in store.table[column].iloc[self._indices]]
        self._batch, self._sampling, self._augmentation = batch, sampling, augmentation
        self._windows, self._seed = tuple(windows), seed
        self._first_epoch, self._first_step = first_epoch, first_step
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="feed")
        self._ahead, self._devices = ahead, devices
        self._closed = False
        self._lock = threading.Lock()
        self.seconds_waited = 0.0

    @property
    def slices_per_epoch(self) -> int:
        length = epoch_length(len(self._indices), self._sampling)
        return max(length // self._devices, 1) * self._devices

    @property
    def steps_per_epoch(self) -> int:
        """Batches per epoch; the last may be smaller."""
        return -(-self.slices_per_epoch // self._batch)

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Indices into the store that `epoch` (from 0) draws, in order."""
        drawn = epoch_order(self._classes, self._sampling, seed=self._seed, epoch=epoch)
        return np.resize(self._indices[drawn], self.slices_per_epoch)

    def make_batch(self, epoch: int, step: int) -> Batch:
        """Batch `step` of `epoch`, made in this thread."""
        return self._assemble(self.order(epoch), epoch, step)

    def __iter__(self) -> Iterator[Batch]:
        jobs = self._jobs()
        ahead = itertools.islice(jobs, self._ahead)
        waiting = deque(self._pool.submit(self._assemble, *job) for job in ahead)
        for job in jobs:
            start = time.perf_counter()
            try:
                batch = waiting.popleft().result()
            except CancelledError:  # closed while a consumer's thread was still asking
                return
            self.seconds_waited += time.perf_counter() - start
            with self._lock:
                if self._closed:
                    return
                waiting.append(self._pool.submit(self._assemble, *job))
            yield batch

    def close(self) -> None:
        """End the threads; batches not yet begun are dropped and no more are given."""
        with self._lock:
            self._closed = True
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _jobs(self) -> Iterator[tuple[NDArray[np.int64], int, int]]:
        for epoch in itertools.count(self._first_epoch):
            order = self.order(epoch)
            first = self._first_step if epoch == self._first_epoch else 0
            for step in range(first, self.steps_per_epoch):
                yield order, epoch, step

    def _assemble(self, order: NDArray[np.int64], epoch: int, step: int) -> Batch:
        positions = range(step * self._batch, min((step + 1) * self._batch, len(order)))
        pairs = [self._sample(int(order[p]), epoch, p) for p in positions]
        return Batch(np.stack([i for i, _ in pairs]), np.stack([m for _, m in pairs]))

    def _sample(
        self, index: int, epoch: int, position: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        rng = np.random.default_rng([self._seed, epoch, position])
        drawn = self._target(index, epoch, position)
        image, labels = augment(
            self._store.images[index], drawn, self._augmentation, self._windows, rng
        )
        if self._patch is not None:
            own = np.random.default_rng([self._seed, epoch, position, _PATCH])
            place = draw(image, self._patch, own).place
            image, labels = image[place], labels[..., *place]
        return image, votes_of([*labels]) if self._targets == "soft" else labels

    def _target(self, index: int, epoch: int, position: int) -> NDArray[np.uint8]:
        """Labels [H, W], or [raters, H, W] for soft targets."""
        if self._targets == "consensus":
            return self._store.labels[index]
        assert self._store.raters is not None
        rows = self._store.raters_of(index)
        if self._targets == "soft":
            return self._store.raters[rows]
        rng = np.random.default_rng([self._seed, epoch, position, _RATER])
        return self._store.raters[rows[rng.integers(len(rows))]]


def batches(
    store: SliceStore, indices: Sequence[int] | NDArray[np.int64], batch: int
) -> Iterator[tuple[NDArray[np.int64], Batch]]:
    """Slices as they are, in the order of `indices`, in batches: (indices of the batch, batch)."""
    for start in range(0, len(indices), batch):
        part = np.asarray(indices[start : start + batch], np.int64)
        yield part, Batch(store.images[part], store.labels[part])
