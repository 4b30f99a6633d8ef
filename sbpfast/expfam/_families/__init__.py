"""The families, a class body each: its row of the registry.  Near relatives share a file."""
