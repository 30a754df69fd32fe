from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from installed_docs_tools import one

from didact.data.installed_docs import entries

SOURCE = '''"""The module says this."""
import os as system
from json import loads
LIMIT = 3
if True:
    def inside(a):
        """Found under an if."""
        return LIMIT + a

class Thing(dict):
    """A thing of some kind.

      Indented more.
    """
    def method(self, x: int, *rest, key="a") -> str:
        """What the method does."""

        # a comment
        return loads(system.name)[x]

    def silent(self):
        return 1

async def later(): "One line."
'''


def test_everything_documented_is_found_in_order() -> None:
    found = entries.entries_of(SOURCE, "numpy", "numpy.x")
    assert [(e.name, e.kind) for e in found] == [
        ("", "module"), ("inside", "function"), ("Thing", "class"), ("Thing.method", "method"), ("later", "function"),
    ]  # fmt: skip
    assert found[0].id == "numpy.x"
    assert found[3].id == "numpy.x:Thing.method"


def test_signature_and_code() -> None:
    method = one(SOURCE, "Thing.method")
    assert method.signature == "def method(self, x: int, *rest, key='a') -> str:"
    assert method.code == (
        'def method(self, x: int, *rest, key="a") -> str:\n    # a comment\n    return loads(system.name)[x]'
    )
    assert one(SOURCE, "Thing").signature == "class Thing(dict):"
    assert one(SOURCE, "later").code == ""
    assert one(SOURCE, "later").signature == "async def later():"


def test_text_is_cleaned_as_inspect_does() -> None:
    assert one(SOURCE, "Thing").doc == inspect.cleandoc("A thing of some kind.\n\n      Indented more.\n    ")


def test_what_outer_names_are() -> None:
    assert dict(one(SOURCE, "Thing.method").outer) == {"system": "module", "loads": "imported"}
    assert dict(one(SOURCE, "inside").outer) == {"LIMIT": "variable", "inside": "function"}


@pytest.mark.parametrize(
    ("call", "name", "signature", "doc"),
    [
        ('add_newdoc("numpy", "flat", """\n    Flat iterator.\n""")', "flat", "", "Flat iterator."),
        ('add_newdoc("numpy", "nd", ("copy", """copy(order)\n\nA copy."""))', "copy", "def copy(order):", "A copy."),
        ('add_docstr(torch.abs, r"""\nabs(input) -> Tensor\n\nSizes.\n""" + r"""\nArgs:\n    {input}\n""".format(**c))',
         "abs", "def abs(input) -> Tensor:", "Sizes.\n\nArgs:"),
    ],
)  # fmt: skip
def test_documentation_of_compiled_functions(call: str, name: str, signature: str, doc: str) -> None:
    (found,) = entries.entries_of(call, "numpy", "numpy.x")
    assert (found.name, found.kind, found.signature, found.doc) == (name, "compiled", signature, doc)


def test_long_code_is_cut_at_a_line() -> None:
    lines = "\n".join(f"    value_{i} = {i}" for i in range(2000))
    code = one(f'def f():\n    """Doc of it."""\n{lines}\n', "f").code
    assert len(code) <= entries.MOST_CODE
    assert code.split("\n")[-1].startswith("    value_")


def test_content_knows_words_only() -> None:
    a, b = one('"""Some  Text, here."""'), one('"""some text here"""')
    assert a.content == b.content != one('"""Other text here"""').content


@pytest.mark.parametrize("bad", ['"""x"""\ndef f(:', '"""x"""\0'])
def test_what_is_no_python_raises(bad: str) -> None:
    with pytest.raises((SyntaxError, ValueError)):
        entries.entries_of(bad, "numpy", "numpy.x")


def test_declared_encodings_are_read(tmp_path: Path) -> None:
    file = tmp_path / "latin.py"
    file.write_bytes("# -*- coding: latin-1 -*-\n'''Café things.'''\n".encode("latin-1"))
    assert "Café" in entries.read_source(file)
    file.write_bytes(b"'''caf\xe9'''\n")
    with pytest.raises((SyntaxError, UnicodeDecodeError)):
        entries.read_source(file)
