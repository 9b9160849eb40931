"""Streaming: in order, bounded, and one failure does not end it."""

from __future__ import annotations

import threading

import pytest

from keras_inception.data.stream import stream


def test_results_come_in_order_with_errors_in_their_place():
    def work(item):
        if item % 5 == 3:
            raise ValueError(item)
        return item * item

    results = list(stream(range(50), work, workers=4))
    assert [item for item, _ in results] == list(range(50))
    for item, result in results:
        if item % 5 == 3:
            assert isinstance(result, ValueError)
        else:
            assert result == item * item


def test_threads_work_only_a_little_ahead():
    taken, lock = [], threading.Lock()

    def items():
        for i in range(100):
            with lock:
                taken.append(i)
            yield i

    running = stream(items(), lambda i: i, workers=2)
    assert next(running) == (0, 0)
    assert len(taken) == 4
    running.close()
    assert len(taken) == 4


def test_an_interrupt_goes_through():
    def work(item):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(stream([1], work))
