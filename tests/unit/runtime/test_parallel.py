"""Work shared out between processes."""

import functools
import os
import time

import pytest

from mbhseg.runtime import parallel
from mbhseg.runtime.parallel import in_order


def square_here(number):
    if number == 13:
        raise ValueError("unlucky")
    return number * number, os.getpid()


def square_when_both_are_here(folder, number):
    """The first two numbers wait for each other: one process alone cannot do both."""
    first = [folder / "20", folder / "21"]
    if number in (20, 21):
        (folder / str(number)).touch()
        deadline = time.monotonic() + 120
        while not all(path.exists() for path in first):
            assert time.monotonic() < deadline, "the other process has not come"
            time.sleep(0.01)
    return square_here(number)


def test_results_come_in_order_from_several_processes(tmp_path):
    function = functools.partial(square_when_both_are_here, tmp_path)
    found = list(in_order(function, range(20, 40), 2))
    assert [square for square, _ in found] == [n * n for n in range(20, 40)]
    workers = {process for _, process in found}
    assert len(workers) == 2
    assert os.getpid() not in workers


def opencv_threads(_):
    import cv2

    return cv2.getNumThreads()


def test_opencv_takes_one_thread_of_each_process():
    assert set(in_order(opencv_threads, range(16), 2)) == {1}


@pytest.mark.parametrize(("items", "processes"), [(range(3), 2), (range(20, 40), 1), ([], 2)])
def test_little_work_is_done_here(items, processes):
    found = list(in_order(square_here, items, processes))
    assert found == [(n * n, os.getpid()) for n in items]


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_is_the_callers(processes, monkeypatch):
    monkeypatch.setattr(parallel, "_ITEMS_PER_PROCESS", 2)
    results = in_order(square_here, range(11, 20), processes)
    assert [next(results)[0], next(results)[0]] == [121, 144]
    with pytest.raises(ValueError, match="unlucky"):
        next(results)
