"""The table of a fit."""

from __future__ import annotations

import numpy as np


class Summary:
    """A table of parameters; ``names``, ``columns`` (a dict of arrays) and a text form."""

    def __init__(self, names, columns, level, headline):
        self.names, self.columns, self.level, self.headline = names, columns, level, headline

    def __getitem__(self, column) -> np.ndarray:
        return self.columns[column]

    def __str__(self):
        width = max(9, *(len(name) for name in self.names))
        titles = {"low": f"{50 * (1 - self.level):.3g}%", "high": f"{50 * (1 + self.level):.3g}%"}
        head = " " * width + "".join(f"{titles.get(title, title):>12}" for title in self.columns)
        rows = [
            f"{name:<{width}}"
            + "".join(
                f"{column[i]:12.3f}" if title == "P(>0)" else f"{column[i]:12.5g}"
                for title, column in self.columns.items()
            )
            for i, name in enumerate(self.names)
        ]
        return "\n".join([self.headline, head, *rows])

    __repr__ = __str__
