"""Every file of the project that a comment, a docstring, a header or a page names is there."""

import ast
import re
import tokenize
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAME = re.compile(r"(?<![\w*{}<>])(?:[\w.-]+/)*[\w.-]*[a-z0-9]\.(?:py|pyi|pyx|pxi|h|json)\b(?![\w(*<{])")
NOT_OURS = {"coverage.py", "c.h", "beta.h", "gamma.h"}
"""A program of somebody else, and scalar products with the hidden units h."""

COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*|#[^\n]*|\"\"\".*?\"\"\"", re.DOTALL)


@cache
def known():
    """All files, as /path/in/the/project."""
    folders = ("sbpfast", "tests", "bench")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*")] + list(ROOT.glob("*"))
    return ["/" + str(path.relative_to(ROOT)) for path in paths if path.is_file()]


def said(path):
    """What a file says to its readers: the whole of a page, of code the comments and docstrings."""
    if path.suffix == ".md":
        return path.read_text()
    if path.suffix != ".py":
        return "\n".join(COMMENT.findall(path.read_text()))
    with tokenize.open(path) as lines:
        comments = [
            token.string for token in tokenize.generate_tokens(lines.readline) if token.type == tokenize.COMMENT
        ]
    nodes = ast.walk(ast.parse(path.read_text()))
    strings = [node.value for node in nodes if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)]
    return "\n".join([*comments, *(str(string.value) for string in strings)])


def readable():
    suffixes = (".py", ".pyx", ".pyi", ".pxi", ".h", ".md")
    return [name[1:] for name in known() if name.endswith(suffixes) and "/results/" not in name]


@pytest.mark.parametrize("path", readable())
def test_the_files_it_names_exist(path):
    named = set(NAME.findall(said(ROOT / path))) - NOT_OURS
    missing = sorted(name for name in named if not any(other.endswith(f"/{name}") for other in known()))
    assert not missing, f"{path} names {', '.join(missing)}"


def test_the_check_sees_comments_docstrings_and_headers(tmp_path):
    code = tmp_path / "a.py"
    code.write_text('"""See b.py."""\nx = "c.py"  # as in d/e.h\n')
    header = tmp_path / "a.h"
    header.write_text("/* of f.pxi */ int g; // and h.json\n")
    assert NAME.findall(said(code)) == ["d/e.h", "b.py"] and NAME.findall(said(header)) == ["f.pxi", "h.json"]
