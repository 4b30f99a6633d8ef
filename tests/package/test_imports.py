"""The floor plan holds: no import runs up, none in a circle, those in function bodies included.

The files are read, not run.  What only a type checker imports does not count, nor does a package's loading itself
before its modules.
"""

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import sbpfast

ROOT = Path(sbpfast.__file__).parent

FIRST = {"_core", "_checks", "_means", "_files", "_progress", "data"}
"""Of the ground, the rooms that lean on one another alone; every other file of the root stands on them."""

NOUNS = {
    "gaussian": set(),
    "targets": set(),
    "expfam": {"gaussian"},
    "rbm": {"targets"},
    "fitting": {"gaussian", "targets"},
    "estimate": {"gaussian", "targets", "expfam"},
    "regression": {"fitting", "targets"},
}
"""What a folder may import beside the ground and itself."""

CLIENTS = {name: set(NOUNS) for name in ("bridges", "torch", "jax")}
TOP = {"sbpfast", "__main__", "_command", "_moved"}

HANDED_ON = {("targets", "rbm"), ("expfam", "estimate")}
"""Public names whose home is above: the folder's `__getattr__` finds them when they are first asked for."""


@cache
def modules():
    """The tree of every module by its name."""
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = ("sbpfast", *path.relative_to(ROOT).with_suffix("").parts)
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(), str(path))
    return found


def room(name):
    """The folder or file in the package's root that a module belongs to."""
    return ("sbpfast", *name.split("."))[1 + (name != "sbpfast")]


def is_folder(name):
    return (ROOT / name / "__init__.py").exists()


class Imports(ast.NodeVisitor):
    """What a module imports of the package: now or in a function body, and what its own `__getattr__` hands on."""

    def __init__(self, name):
        self.name, self.found, self.handed_on, self.functions = name, set(), set(), []
        self.visit(modules()[name])

    def add(self, name):
        if name.split(".")[0] == "sbpfast":
            (self.handed_on if self.functions == ["__getattr__"] else self.found).add(name)

    def visit_If(self, node):
        for child in node.orelse if ast.unparse(node.test).endswith("TYPE_CHECKING") else ast.iter_child_nodes(node):
            self.visit(child)

    def visit_FunctionDef(self, node):
        self.functions.append(node.name)
        self.generic_visit(node)
        self.functions.pop()

    def visit_Import(self, node):
        for alias in node.names:
            self.add(alias.name)

    def visit_ImportFrom(self, node):
        assert node.level == 0, f"{self.name} line {node.lineno}: imports name their module in full"
        for alias in node.names:
            inner = f"{node.module}.{alias.name}"
            self.add(inner if inner in modules() else node.module)

    def visit_Call(self, node):
        """`import_module("sbpfast.x")`, and `f"sbpfast.x.{...}"` as far as it is known."""
        if ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__") and node.args:
            what = node.args[0].values[0] if isinstance(node.args[0], ast.JoinedStr) else node.args[0]
            if isinstance(what, ast.Constant):
                self.add(what.value.rstrip("."))
        self.generic_visit(node)


def allowed(name):
    """The rooms that a room may import, or None for all."""
    if name in TOP:
        return None
    files = {path.stem for path in ROOT.glob("*.py")} - TOP - {"__init__"}
    ground = FIRST | files
    if name in FIRST:
        return FIRST
    if not is_folder(name):
        return ground
    rules = {**NOUNS, **CLIENTS, "_reference": set()}
    assert name in rules, f"no rule says what sbpfast/{name}/ may import: add its row to this test"
    return ground | rules[name] | {name}


@pytest.mark.parametrize("name", sorted(modules()))
def test_no_import_runs_up(name):
    rooms = allowed(room(name))
    up = {other for other in Imports(name).found if rooms is not None and room(other) not in rooms}
    assert not up, f"{name} must not import {', '.join(up)}"


def test_only_what_is_agreed_is_handed_on_from_above():
    pairs = {(room(name), room(other)) for name in modules() for other in Imports(name).handed_on}
    assert {(a, b) for a, b in pairs if a != b and a not in TOP} == HANDED_ON


def order(arrows):
    try:
        return list(TopologicalSorter(arrows).static_order())
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' <- '.join(error.args[1])}")


def test_modules_do_not_import_in_a_circle():
    order({name: Imports(name).found - {name} for name in modules()})


def test_rooms_do_not_import_in_a_circle():
    arrows = {}
    for name in modules():
        arrows.setdefault(room(name), set()).update(room(other) for other in Imports(name).found)
    floors = order({name: others - {name} for name, others in arrows.items()})
    assert floors.index("_core") < floors.index("targets") < floors.index("fitting") < floors.index("regression")


def test_compiled_code_imports_nothing_of_the_package():
    for path in (ROOT / "_core").glob("*.p[yx][xi]"):
        for line in path.read_text().splitlines():
            words = line.split()
            if words[:1] in (["from"], ["import"], ["cimport"]):
                assert not words[1].startswith("sbpfast") or words[1].startswith("sbpfast._core"), f"{path}: {line}"


def test_the_check_sees_imports_wherever_they_stand(monkeypatch):
    source = """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from sbpfast.a import A
else:
    import sbpfast.b
def f():
    from sbpfast.c import C
    class D:
        def g(self):
            import_module(f"sbpfast.d.{f}")
def __getattr__(name):
    return import_module("sbpfast.e")
"""
    monkeypatch.setitem(modules(), "made up", ast.parse(source))
    imports = Imports("made up")
    assert imports.found == {"sbpfast.b", "sbpfast.c", "sbpfast.d"} and imports.handed_on == {"sbpfast.e"}
