"""A workload is one row: what is measured, at which size, and beside whom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from timing import OURS, Rule


@dataclass(frozen=True)
class Workload:
    """One row of a file in workloads/.

    Attributes
    ----------
    title : str
        The key of its figures in the file of results.
    candidates : callable
        From sizes to {name: call without arguments}; "sbpfast" is ours, a peer that is not installed is left out.
    sizes, quick : dict
        The sizes measured, and tiny ones that only show that everything runs.
    per : str
        The size that times are divided by, and what one of them is called: "n draw"; " state" where `facts` says the
        number.
    facts : callable, optional
        From (calls, times, **sizes) to what else is worth knowing, by candidate; "" is the workload as a whole.
        "items" is the number that a candidate's times are divided by, where it is not that of ours.
    """

    title: str
    candidates: Callable[..., dict[str, Callable]]
    sizes: dict[str, Any] = field(default_factory=dict)
    quick: dict[str, Any] = field(default_factory=dict)
    per: str = ""
    facts: Callable[..., dict[str, dict]] | None = None

    def measure(self, rule: Rule, quick: bool) -> dict:
        """Times and facts of every candidate, as they are written to the file of results."""
        sizes = self.quick if quick else self.sizes
        calls = self.candidates(**sizes)
        times = rule.compare(calls)
        facts = self.facts(calls, times, **sizes) if self.facts else {}
        size, _, item = self.per.partition(" ")
        items = {"items": sizes[size]} if size else {}
        seconds = {name: t | items | facts.get(name, {}) for name, t in times.items()}
        for t in seconds.values():
            t["ratio to ours"] *= seconds[OURS].get("items", 1) / t.get("items", 1)
        return {"seconds": seconds, "item": item, "facts": facts.get("", {})}


UNITS = (("s", 1.0), ("ms", 1e3), ("us", 1e6), ("ns", 1e9))
MEASURED = ("median", "least", "ratio to ours", "items")


def text(seconds: float, items: float = 1.0) -> str:
    """Two digits in the unit that suits."""
    each = seconds / items
    unit, scale = next((unit, scale) for unit, scale in UNITS if each * scale >= 1 or unit == "ns")
    value = each * scale
    return f"{value:.0f} {unit}" if value >= 100 else f"{float(f'{value:.2g}'):g} {unit}"


def lines(title: str, entry: dict) -> list[str]:
    """A workload's lines of the table that is printed."""
    unit = f", a {entry['item']}" if entry["item"] else ""
    printed = [f"{title}{unit}"]
    for name, t in entry["seconds"].items():
        more = "".join(f"   {key} {value:.2g}" for key, value in t.items() if key not in MEASURED)
        times = "" if name == OURS else f"   x {t['ratio to ours']:.2f}"
        printed.append(f"  {name:44s} {text(t['median'], t.get('items', 1)):>10s}{times}{more}")
    return printed + [f"  {key}: {value}" for key, value in entry["facts"].items()]
