"""Kernels for other people's Cython (`from sbpfast.kernels cimport gamma_weight`); Python calls nothing here."""
