"""Progress of a run: a bar on a terminal, elsewhere a plain line every half minute."""

import sys
from collections.abc import Callable
from io import TextIOBase
from typing import Protocol, runtime_checkable

from tqdm import tqdm

from attn_research.training.step import Sums

SECONDS_PER_LINE = 30.0


@runtime_checkable
class Progress(Protocol):
    """A display of the steps that a run has taken."""

    def update(self, step: int, sums: Sums) -> None:
        """Shows one more step."""
        ...

    def show(self, averages: dict[str, float]) -> None:
        """Shows averages over the last steps."""
        ...

    def skip(self, seconds: float) -> None:
        """Leaves `seconds` out of the rate of steps."""
        ...

    def close(self) -> None:
        """Ends the display."""
        ...


def make_progress(
    name: str,
    *,
    start: int,
    num_steps: int,
    stream: TextIOBase | None,
    clock: Callable[[], float],
) -> Progress:
    """The progress bar or the progress lines of a run, whichever suits `stream` (else stderr)."""
    stream = stream or sys.stderr
    if stream.isatty():
        return ProgressBar(name, start=start, num_steps=num_steps, stream=stream)
    return ProgressLines(name, start=start, num_steps=num_steps, stream=stream, clock=clock)


class ProgressBar:
    """A tqdm bar with the latest averages behind it."""

    def __init__(self, name: str, *, start: int, num_steps: int, stream: TextIOBase):
        self._bar = tqdm(total=num_steps, initial=start, desc=name, unit="step", file=stream)

    def update(self, step: int, sums: Sums) -> None:
        self._bar.update(1)

    def show(self, averages: dict[str, float]) -> None:
        self._bar.set_postfix({name: f"{value:,.4g}" for name, value in averages.items()})

    def skip(self, seconds: float) -> None:
        pass

    def close(self) -> None:
        self._bar.close()


class ProgressLines:
    """Lines with step, loss and rate since the last line, and the time left, for a log file."""

    def __init__(
        self,
        name: str,
        *,
        start: int,
        num_steps: int,
        stream: TextIOBase,
        clock: Callable[[], float],
    ):
        self._name, self._num_steps, self._stream, self._clock = name, num_steps, stream, clock
        self._first = start
        self._opened = clock()
        self._clear()

    def update(self, step: int, sums: Sums) -> None:
        self._steps += 1
        self._total += float(sums.total)
        self._weight += float(sums.weight)
        now = self._clock()
        if now - self._last_line < SECONDS_PER_LINE:
            return
        loss = self._total / max(self._weight, 1.0)
        rate = self._steps / (now - self._last_line - self._skipped)
        # The run's own pace, hooks included.
        left = (self._num_steps - step) * (now - self._opened) / (step - self._first)
        self._stream.write(
            f"{self._name}: step {step:,} of {self._num_steps:,}, loss {loss:,.4g}, "
            f"{rate:,.3g} steps/s, {tqdm.format_interval(left)} left\n"
        )
        self._stream.flush()
        self._clear()

    def show(self, averages: dict[str, float]) -> None:
        pass

    def skip(self, seconds: float) -> None:
        self._skipped += seconds

    def close(self) -> None:
        pass

    def _clear(self) -> None:
        self._steps, self._total, self._weight, self._skipped = 0, 0.0, 0.0, 0.0
        self._last_line = self._clock()
