"""Derivatives of the regularised incomplete gamma and beta functions with respect to their shapes, as NumPy ufuncs.

``scipy.special`` has the functions but not these derivatives.  They are minus the density times the transport weight
of the gamma and the beta distribution, and are computed that way: no finite difference and no series whose stopping
rule watches only the value.
"""

from sbpfast._core import special as _kernels

__all__ = ["betainc_da", "betainc_db", "gammainc_da"]

gammainc_da = _kernels.gammainc_da
betainc_da = _kernels.betainc_da
betainc_db = _kernels.betainc_db
