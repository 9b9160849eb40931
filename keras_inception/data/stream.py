"""Work on many images at once, in order and in bounded memory."""

from __future__ import annotations

import collections
import concurrent.futures
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_WORKERS = 16


def stream(
    items: Iterable[Item],
    work: Callable[[Item], Result],
    *,
    workers: int | None = None,
) -> Iterator[tuple[Item, Result | Exception]]:
    """Yields (item, work(item)) in the order of the items; threads work a little ahead.

    Args:
        items: Any number; they are taken one by one.
        work: What is done with each. An exception is yielded in the result's place, so that one
            unreadable image does not end a long run.
        workers: Threads; by default one a core, at most 16.

    At most twice as many results as threads wait to be taken.
    """
    workers = workers or min(MOST_WORKERS, os.cpu_count() or 1)
    waiting: collections.deque[tuple[Item, concurrent.futures.Future]] = collections.deque()

    def first() -> tuple[Item, Result | Exception]:
        item, future = waiting.popleft()
        error = future.exception()
        if error is None:
            return item, future.result()
        if isinstance(error, Exception):
            return item, error
        raise error

    pool = concurrent.futures.ThreadPoolExecutor(workers)
    try:
        for item in items:
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) >= 2 * workers:
                yield first()
        while waiting:
            yield first()
    finally:  # also where the caller stops early
        pool.shutdown(cancel_futures=True)
