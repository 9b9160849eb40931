"""What a run prints: a line now and then, and one an epoch."""

from __future__ import annotations

import sys
import time

from keras_inception.messages import minutes

SECONDS_BETWEEN_LOG_LINES = 30.0


class Progress:
    """The lines of one run; only the chief prints.

    Args:
        prints: Whether this process prints; also an attribute, as `in_lines` is: whether no line
            rewrites itself.
        batch_size: The global batch.
        total_steps, epochs: Of the whole run.
    """

    def __init__(self, *, prints: bool, batch_size: int, total_steps: int, epochs: int) -> None:
        self.prints, self.in_lines, self._batch_size = prints, False, batch_size
        self._total_steps, self._epochs = total_steps, epochs
        self._reported = time.monotonic()
        # Where the rate is measured from: the end of the first loop, which is spent on tracing.
        self._start: tuple[float, int] | None = None

    def say(self, text: str) -> None:
        """Prints a line from the chief only, overwriting the progress line on a terminal."""
        if self.prints:
            print(f"\r{text}" if self._rewrites() else text, flush=True)

    def _rewrites(self) -> bool:
        return sys.stdout.isatty() and not self.in_lines

    def loop(self, step: int, loss: float, hits: float, rate: float) -> None:
        """One line that rewrites itself on a terminal; in a log, a line every half minute.

        Args:
            step: Steps done.
            loss, hits: Means of a step, in this epoch.
            rate: The learning rate.
        """
        now = time.monotonic()
        if self._start is None:
            self._start = (now, step)
        begun, first = self._start
        terminal = self._rewrites()
        quiet = not terminal and now - self._reported < SECONDS_BETWEEN_LOG_LINES
        if not self.prints or quiet or step == first:
            return
        self._reported = now
        steps_per_second = (step - first) / (now - begun)
        left = (self._total_steps - step) / steps_per_second
        line = (
            f"  step {step}/{self._total_steps}  loss {loss:.3f}  "
            f"accuracy {hits / self._batch_size:.1%}  rate {rate:.2g}  "
            f"{steps_per_second * self._batch_size:.0f} images/s  {minutes(left)} left"
        )
        print(f"\r{line} " if terminal else line, end="" if terminal else "\n", flush=True)

    def epoch(self, row: dict[str, float]) -> None:
        """A line of an epoch's row of history.csv."""
        left = (self._total_steps - row["step"]) * self._batch_size / row["images_per_second"]
        validation = (
            f"  validation {row['validation_accuracy']:.1%}" if "validation_accuracy" in row else ""
        )
        self.say(
            f"epoch {row['epoch']:.0f}/{self._epochs}  loss {row['loss']:.3f}  "
            f"accuracy {row['accuracy']:.1%}{validation}  rate {row['learning_rate']:.2g}  "
            f"{row['images_per_second']:.0f} images/s  {minutes(left)} left"
        )
