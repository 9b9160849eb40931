"""Iterators of tf.data that nobody has to wait for when they end."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any


class Batches(contextlib.AbstractContextManager["Batches"]):
    """The elements of a data set, whose iterator is given up by a thread of its own.

    Each iterator of tf.data has a thread that tunes it, in pauses that double up to a minute. Often
    it sleeps through the iterator's end, and whoever deletes the iterator then waits for as long as
    the iterator has lived. Elements are to be taken within a `with` block, and nothing but this
    object should hold on to `iterator`.

    Args:
        dataset: A tf.data.Dataset or a distributed one.

    Attributes:
        iterator: Its iterator, which a tf.function can take.
    """

    def __init__(self, dataset: Iterable[Any]) -> None:
        self._held = [iter(dataset)]

    @property
    def iterator(self) -> Iterator[Any]:
        return self._held[0]

    def __iter__(self) -> Iterator[Any]:
        return self.iterator

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # After an error the program is to end at once, and waits for threads. The thread is no
        # daemon: one that wakes while the program ends would abort it.
        if kind is None:
            threading.Thread(target=self._held.clear).start()
