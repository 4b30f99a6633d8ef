"""Transport weights at 22 digits, from the tables that tests/tables/generate_weights.py makes with mpmath."""

import json
from pathlib import Path

import numpy as np

ROWS = json.loads((Path(__file__).parent.parent / "tables" / "weights.json").read_text())
OUTPUTS = {"beta": 2, "inverse_gaussian": 2, "truncated_normal": 4}


def weight_table(family):
    """x, the parameters, and the weights by them, as float64 columns; an infinite bound has no weight (NaN)."""
    columns = np.array([[np.nan if v is None else float(v) for v in row] for row in ROWS[family]]).T
    inputs = len(columns) - OUTPUTS.get(family, 1)
    *parameters, x = columns[:inputs]
    return x, parameters, columns[inputs:]
