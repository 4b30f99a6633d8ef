"""NumPy twins of the compiled kernels, a module a topic: the readable definition of each, and the oracle of its tests.

A function here has the name of its kernel and the same mathematics without its layout: draws are rows (n, d), results
are returned.  Nothing in the package calls them.
"""
