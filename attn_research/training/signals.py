"""SIGINT (Ctrl-C) and SIGTERM: training ends after its step, other work where it is."""

import contextlib
import os
import signal
import threading
from collections.abc import Generator

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """The end of a program that a signal asked for; no error, so that nothing recovers from it."""

    def __init__(self, number: int, step: int | None = None):
        super().__init__(number)
        self.number, self.step = number, step

    @property
    def exit_code(self) -> int:
        """The exit status of a program that this signal ended: 130 or 143."""
        return 128 + self.number


class Signals:
    """The signals of a process while it is entered; the first raises `Interrupted`.

    While they are `deferred` it sets `received` alone. The second ends the process at once, even in
    a compilation, which no handler written in Python interrupts: a thread of its own sees to that.
    """

    def __init__(self):
        self.received: int | None = None
        self._deferred = False

    def __enter__(self) -> "Signals":
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._handlers = {number: signal.signal(number, self._handle) for number in SIGNALS}
        self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        os.close(self._write)  # which ends the thread
        self._thread.join()
        os.close(self._read)

    @contextlib.contextmanager
    def deferred(self) -> Generator[None]:
        """Work that looks at `received` itself; one that came late is raised at its end."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        if self.received is not None:
            raise Interrupted(self.received)

    def _handle(self, number: int, frame: object) -> None:
        self.received = number
        if not self._deferred:
            raise Interrupted(number)

    def _watch(self) -> None:
        count = 0
        while data := os.read(self._read, 1):
            count += data[0] in SIGNALS
            if count == 2:
                os._exit(128 + data[0])
