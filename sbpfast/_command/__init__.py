"""The command line: `tour`, the main job; `fit`, anyone's table; `table`, how it is read."""
