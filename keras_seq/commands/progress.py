"""How far a verb has come."""

import sys
import time

TERMINAL_SECONDS, LOG_SECONDS = 2.0, 30.0


class Progress:
    """Counts on stderr: every two seconds on a terminal, in one line of it; elsewhere a line every half minute.

    Nothing where all is done in less.
    """

    def __init__(self, unit: str):
        self._unit = unit
        self._terminal = sys.stderr is not None and sys.stderr.isatty()
        self._begun = self._told = time.monotonic()
        self._open = False

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        if now - self._told < (TERMINAL_SECONDS if self._terminal else LOG_SECONDS):
            return
        self._told = now
        told = f"{done:,} {self._unit}, {done / (now - self._begun):,.0f} a second"
        print(f"\r{told}\033[K" if self._terminal else told, end="" if self._terminal else "\n", file=sys.stderr)
        sys.stderr.flush()
        self._open = self._terminal

    def close(self) -> None:
        """Leaves the line of the terminal."""
        if self._open:
            print(file=sys.stderr)
            self._open = False
