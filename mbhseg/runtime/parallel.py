"""Work on many cases, shared out between processes."""

import itertools
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_ITEMS_A_PROCESS = 8  # fewer do not pay for its start
_AHEAD = 2  # items of a process that wait or are done before their turn


def in_order(
    function: Callable[[Item], Result], items: Sequence[Item], processes: int
) -> Iterator[Result]:
    """`function` of each item, in their order, by up to `processes` processes.

    Few items, or one process, are worked on here; else function, items and results travel between
    processes, and memory holds a few results at a time. No items give nothing. What `function`
    raises is raised here, and what has not begun by then is left undone.
    """
    workers = min(processes, len(items) // _ITEMS_A_PROCESS)
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
