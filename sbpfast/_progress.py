"""How far a long loop is: a bar of tqdm's where that is installed, else a line a step on standard error."""

from __future__ import annotations

import sys
from typing import Any


class Progress:
    """What a loop shows of itself: nothing at all unless `shown`.

    Parameters
    ----------
    what, unit : str
        What runs, and what it counts.
    shown : bool
    total : int, optional
        The number of steps, where it is known.
    done : int
        Steps done before.
    """

    def __init__(self, what, unit, *, shown, total=None, done=0):
        self.what, self.unit, self.shown, self.total, self.done = what, unit, shown, total, done
        self._bar: Any = None
        if shown:
            try:
                from tqdm.auto import tqdm
            except ImportError:
                return
            self._bar = tqdm(total=total, initial=done, desc=what, unit=f" {unit}s")

    def step(self, text):
        """One more step is done, and this is to be said of it."""
        self.done += 1
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update()
        elif self.shown:
            of = "" if self.total is None else f"/{self.total}"
            print(f"{self.what}: {self.unit} {self.done}{of}, {text}", file=sys.stderr, flush=True)

    def close(self):
        if self._bar is not None:
            self._bar.close()
