"""The examples of the README, of the site and of every public docstring run and print what they say."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import sbpfast as sb

ROOT = Path(__file__).parents[2]
PEERS = ("pymc", "torch", "jax", "numba", "numpyro", "formulae", "pandas", "polars", "pyarrow", "dask", "matplotlib")
MADE = {"families", "gallery", "api", "_build"}  # by the site's build
PAGES = [ROOT / "README.md", *(p for p in (ROOT / "docs").rglob("*.md") if not MADE & set(p.parts))]
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def blocks(page):
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


def need(code):
    for name in sorted(set(re.findall(r"^\s*(?:>>> )?(?:import|from) (\w+)", code, re.MULTILINE)) & set(PEERS)):
        pytest.importorskip(name)
    for name in re.findall(r"sbpfast\.(torch|jax)", code):
        pytest.importorskip(name)


def run_session(code, name, namespace):
    test = doctest.DocTestParser().get_doctest(code, namespace, name, name, 0)
    said = []
    results = doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=said.append, clear_globs=False)
    namespace.update(test.globs)
    assert results.failed == 0, "".join(said)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p)], ids=lambda p: str(p.relative_to(ROOT)))
def test_the_examples_run(page):
    """All blocks of a page share their names; those with prompts print what they say."""
    need("\n".join(blocks(page)))
    namespace = {"__name__": page.stem}
    for number, block in enumerate(blocks(page)):
        if block.startswith(">>>"):
            run_session(block, f"{page.stem}[{number}]", namespace)
        else:
            exec(compile(block, f"{page.name}[{number}]", "exec"), namespace)


@pytest.mark.parametrize("name", sb.expfam.FAMILIES)
def test_the_call_on_the_page_of_a_family(name, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    family_pages = importlib.import_module("family_pages")
    p = eval(family_pages.shown(sb.expfam.FAMILIES[name]), {"sb": sb})
    assert type(p).__name__ == name and p.sample(5, rng=0).shape[0] == 5


def modules():
    """Every module that can be imported here."""
    for info in pkgutil.walk_packages(sb.__path__, "sbpfast."):
        if "_core" not in info.name and "__main__" not in info.name and not info.name.startswith("sbpfast._command"):
            try:
                yield importlib.import_module(info.name)
            except ImportError as error:
                if (error.name or "").split(".")[0] == "sbpfast":
                    raise


def test_the_docstrings_run():
    finder = doctest.DocTestFinder(exclude_empty=True)
    tests = {t.name: t for module in [sb, *modules()] for t in finder.find(module) if t.examples}
    assert len(tests) > 1
    for test in tests.values():
        said = []
        results = doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=said.append)
        assert results.failed == 0, "".join(said)


# -- links ------------------------------------------------------------------------------------------------------------


def anchors(page):
    """The names of a page's headings, as they stand in links."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", h.lower()).strip().replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_internal_links_hold(page):
    """Those that the site's build makes are held by the build itself, which ends at the first warning."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if re.match(r"https?:|mailto:", target) or MADE & set(Path(path).parts):
            continue
        other = (page.parent / path).resolve() if path else page
        assert other.exists(), target
        assert not anchor or anchor in anchors(other), target
    for target in re.findall(r"\{doc\}`(?:[^`<]*<)?([^`>]+)>?`", text):
        made = MADE & set(Path(target).parts)
        assert made or (page.parent / f"{target}.md").resolve().exists(), target
