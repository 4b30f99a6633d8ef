"""Every name that the README and the pages of the site give to a public thing exists."""

import builtins
import inspect
import re
from pathlib import Path

import pytest

import sbpfast as sb

ROOT = Path(__file__).parents[2]
MADE = {"families", "gallery", "api", "_build"}  # by the site's build
PAGES = [ROOT / "README.md", *(p for p in sorted((ROOT / "docs").rglob("*.md")) if not MADE & set(p.parts))]
PAGE = "\n".join(path.read_text() for path in PAGES)
CODE = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
INLINE = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL))
MODULES = "contract", "expfam", "regression", "special", "targets"


def dotted(pattern):
    return sorted(set(re.findall(pattern, "\n".join([CODE, *INLINE]))))


def attribute(thing, path):
    for name in path.split("."):
        thing = getattr(thing, name)
    return thing


@pytest.mark.parametrize("path", dotted(r"\bsb\.([A-Za-z_][\w.]*\w)"))
def test_what_is_read_from_the_package_exists(path):
    assert attribute(sb, path) is not None


@pytest.mark.parametrize("path", dotted(rf"(?<![\w.])((?:{'|'.join(MODULES)})\.[A-Za-z_]\w*)"))
def test_what_is_read_from_a_module_exists(path):
    assert attribute(sb, path) is not None


def answers():
    f = sb.targets.quadratic([1.0, 2.0], [0.0, 0.0])
    q = sb.Gaussian([0.0, 0.0], [[1.0, 0.0], [0.0, 1.0]])
    return {"fit": sb.fit(f), "est": sb.expectation_grad(f, q), "rbm": sb.GaussianBernoulliRBM()}


@pytest.mark.parametrize("path", dotted(r"(?<![\w.])((?:fit|est|rbm)\.[a-z_]+)"))
def test_what_is_read_from_an_answer_exists(path):
    name, _, rest = path.partition(".")
    assert hasattr(answers()[name], rest)


def signatures():
    """Name and arguments of everything that stands as `Name(a, b, *, c)`."""
    found = (re.fullmatch(r"([A-Z]\w+)\(([\w, *]+)\)", text) for text in INLINE)
    return sorted({match.groups() for match in found if match})


@pytest.mark.parametrize("name, arguments", signatures())
def test_constructors_take_what_the_pages_say(name, arguments):
    family = getattr(sb, name, None) or getattr(sb.expfam, name)
    parameters = inspect.signature(family).parameters
    said, _, keywords = (part.strip(", ") for part in arguments.partition("*"))
    positional = [p.name for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional[: len(said.split(", "))] == said.split(", ")
    for keyword in filter(None, keywords.split(", ")):
        assert parameters[keyword].kind is inspect.Parameter.KEYWORD_ONLY


def test_the_tables_are_whole():
    named = {name for name, _ in signatures()}
    assert {"Gaussian", "LowRankPrecisionGaussian", "NaturalGaussian"} <= named


README_INLINE = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", PAGES[0].read_text(), flags=re.DOTALL))
BARE = sorted({text for text in README_INLINE if re.fullmatch(r"[A-Z][a-z]+[A-Z]\w*|[a-z]+(_[a-z]+)+", text)})


@pytest.mark.parametrize("name", BARE)
def test_names_without_a_module_are_of_the_package(name):
    homes = [builtins, sb, *(getattr(sb, module) for module in MODULES), sb.GaussianBernoulliRBM, *answers().values()]
    keyword = name in inspect.signature(sb.expectation_grad).parameters
    assert keyword or any(hasattr(home, name) for home in homes), name


@pytest.mark.parametrize("path", sorted({text for text in README_INLINE if re.fullmatch(r"[.\w]+/[\w./]*", text)}))
def test_paths_exist(path):
    assert any((home / path).exists() for home in (ROOT, ROOT / "sbpfast", ROOT / "bench"))
