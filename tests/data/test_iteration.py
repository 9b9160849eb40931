"""Iterators that nobody waits for."""

from __future__ import annotations

import threading

import pytest

from keras_inception.data import Batches


@pytest.mark.parametrize("stopped", [False, True])
def test_an_iterator_ends_in_a_thread_of_its_own(stopped):
    """tf.data's take as long to delete as they lived (a thread of theirs can be asleep)."""
    ended, may_end = [], threading.Event()

    class Elements:
        def __init__(self):
            self.left = iter(range(3))

        def __iter__(self):
            return self

        def __next__(self):
            return next(self.left)

        def __del__(self):
            may_end.wait(60)
            ended.append(threading.current_thread())

    class Dataset:
        def __iter__(self):
            return Elements()

    before = set(threading.enumerate())
    with Batches(Dataset()) as batches:
        seen = []
        for element in batches:
            seen.append(element)
            if stopped:
                break
    assert seen == ([0] if stopped else [0, 1, 2])
    assert not ended, "the with block did not wait"
    may_end.set()
    for thread in set(threading.enumerate()) - before:
        thread.join()
    assert len(ended) == 1 and ended[0] is not threading.main_thread()


def test_after_an_error_no_thread_delays_the_end_of_the_program():
    before = set(threading.enumerate())
    with pytest.raises(KeyError), Batches([1, 2]) as batches:
        raise KeyError(next(batches.iterator))
    assert set(threading.enumerate()) == before
