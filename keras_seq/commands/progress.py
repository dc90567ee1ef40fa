"""Progress of a verb."""

import sys
import time

TERMINAL_SECONDS, LOG_SECONDS = 2.0, 30.0


class Progress:
    """Prints a count on stderr: every two seconds in the same line on a terminal, otherwise a line every half minute.

    A verb that finishes sooner prints nothing.
    """

    def __init__(self, unit: str):
        self._unit = unit
        self._terminal = sys.stderr is not None and sys.stderr.isatty()
        self._begun = self._printed = time.monotonic()
        self._open = False

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        if now - self._printed < (TERMINAL_SECONDS if self._terminal else LOG_SECONDS):
            return
        self._printed = now
        line = f"{done:,} {self._unit}, {done / (now - self._begun):,.0f} a second"
        print(f"\r{line}\033[K" if self._terminal else line, end="" if self._terminal else "\n", file=sys.stderr)
        sys.stderr.flush()
        self._open = self._terminal

    def close(self) -> None:
        """Ends the line of the terminal."""
        if self._open:
            print(file=sys.stderr)
            self._open = False
