"""The README opens with its two commands, and the package's docstrings say what they must."""

import inspect
from pathlib import Path

import pytest

import sbpfast as sb

README = Path(__file__).parents[2] / "README.md"


def test_the_readme_opens_with_the_two_commands():
    commands = [line.strip() for line in README.read_text().splitlines() if line.startswith("    ")][:2]
    assert commands == ["pip install . && python -m sbpfast", "pip install '.[test]' && pytest"]


PUBLIC = [getattr(sb, name) for name in sb.__all__ if not inspect.ismodule(getattr(sb, name))]
PUBLIC += [getattr(module, name) for module in (sb.targets, sb.contract) for name in module.__all__]


@pytest.mark.parametrize("thing", [t for t in PUBLIC if callable(t)], ids=lambda t: t.__name__)
def test_public_docstrings(thing):
    doc = inspect.getdoc(thing)
    assert (doc and doc.strip()[-1] in ".`)>") or doc.count("\n") > 2
    if inspect.isfunction(thing) and len(inspect.signature(thing).parameters) > 2 and "Arguments as for" not in doc:
        for section in ("Parameters", "Returns"):
            assert f"{section}\n---" in doc, f"{thing.__name__} lacks {section}"
        for name in inspect.signature(thing).parameters:
            assert name in doc, f"{thing.__name__} does not explain {name}"
