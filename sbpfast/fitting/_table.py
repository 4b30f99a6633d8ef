"""The table of a fit."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np


class Summary:
    """A table of parameters; ``names``, ``columns`` (a dict of arrays), a text form, and a table in notebooks."""

    def __init__(self, names, columns, level, headline):
        self.names, self.columns, self.level, self.headline = names, columns, level, headline

    def __getitem__(self, column) -> np.ndarray:
        return self.columns[column]

    def to_frame(self) -> Any:
        """The table as a pandas DataFrame, a row a parameter; needs pandas."""
        from pandas import DataFrame

        return DataFrame(self.columns, index=list(self.names))

    def __str__(self):
        width = max(9, *(len(name) for name in self.names))
        head = " " * width + "".join(f"{title:>12}" for title in self._titles())
        rows = [
            f"{name:<{width}}" + "".join(f"{cell:>12}" for cell in self._cells(i)) for i, name in enumerate(self.names)
        ]
        return "\n".join([self.headline, head, *rows])

    __repr__ = __str__

    def _repr_html_(self):
        def row(kind, cells):
            return "<tr>" + "".join(f"<{kind}>{escape(cell)}</{kind}>" for cell in cells) + "</tr>"

        head = row("th", ["", *self._titles()])
        body = "".join(
            f"<tr><th>{escape(name)}</th>{row('td', self._cells(i))[4:]}" for i, name in enumerate(self.names)
        )
        headline = escape(self.headline).replace("\n", "<br>")
        return f"<p>{headline}</p><table><thead>{head}</thead><tbody>{body}</tbody></table>"

    def _titles(self):
        ends = {"low": f"{50 * (1 - self.level):.3g}%", "high": f"{50 * (1 + self.level):.3g}%"}
        return [ends.get(title, title) for title in self.columns]

    def _cells(self, i):
        return [
            f"{column[i]:.3f}" if title == "P(>0)" else f"{column[i]:.5g}" for title, column in self.columns.items()
        ]
