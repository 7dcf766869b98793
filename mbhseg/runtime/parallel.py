"""Work on many cases, distributed over processes."""

import itertools
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_ITEMS_PER_PROCESS = 8  # fewer are not worth starting a process
_AHEAD = 2  # items per process that wait, or are done before their turn


def in_order(
    function: Callable[[Item], Result], items: Sequence[Item], processes: int
) -> Iterator[Result]:
    """`function` of each item, in their order, by up to `processes` processes.

    Few items are worked on in this process; otherwise function, items and results are pickled, and
    memory holds a few results at a time. No items give nothing. An error of `function` is raised
    here, and items that have not begun by then are skipped.
    """
    workers = min(processes, len(items) // _ITEMS_PER_PROCESS)
    if workers < 2:
        yield from map(function, items)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_on_one_thread) as pool:
        left = iter(items)
        waiting = deque(
            pool.submit(function, item) for item in itertools.islice(left, _AHEAD * workers)
        )
        try:
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(function, item) for item in itertools.islice(left, 1))
                yield result
        finally:
            pool.shutdown(cancel_futures=True)


def _on_one_thread() -> None:
    """OpenCV works in the thread of the process, as there is one process per granted thread."""
    os.environ["OPENCV_FOR_THREADS_NUM"] = "1"
