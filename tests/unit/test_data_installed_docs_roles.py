from __future__ import annotations

import ast
import builtins
import json.decoder
import symtable
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from installed_docs_tools import one

from didact.data.installed_docs import roles
from didact.data.installed_docs.entries import entries_of
from didact.data.installed_docs.roles import FEWEST_ASKED, MOST_WORDS, NOT_ASKED, ROLES, tagged, words_of

HEAD = "import numpy as np\nfrom json import loads\nLIMIT = 3\nclass Thing: pass\ndef helper(): pass\n"


def roles_of(body: str) -> list[tuple[str, str]]:
    """(word, role) of everything asked in `def f(...)` given as text without docstring."""
    head, _, rest = textwrap.dedent(body).strip().partition("\n")
    source = f'{HEAD}{head}\n    """Words of documentation."""\n{rest}\n'
    found = tagged(one(source, "f"))
    assert found is not None
    return [(w, t) for w, t in zip(found.words, found.tags, strict=True) if t != NOT_ASKED]


CASES = {
    """
    def f(self, first, *rest, key: int = LIMIT, **more) -> Thing:
        import os.path, sys as system
        from math import pi as circle
    """: "f/function first/parameter rest/parameter key/parameter int/builtin LIMIT/variable more/parameter "
    "Thing/class sys/module system/module pi/imported circle/imported",
    """
    def f(a, rest):
        def inner(self, x=a): return x + a
        a = loads(np.load(a), strict=rest)[0].shape.size
        for i, a in enumerate(rest): print(i, unknown)
    """: "f/function a/parameter rest/parameter inner/function x/parameter a/parameter x/parameter a/parameter "
    "a/parameter loads/imported np/module load/method a/parameter strict/keyword rest/parameter shape/attribute "
    "size/attribute i/variable a/parameter enumerate/builtin rest/parameter print/builtin i/variable",
    """
    def f(key, i):
        with open(key) as file: total = file.read()
        try: helper(Thing)
        except ValueError as error: raise error
        return [j for j in total if j] and (lambda a, b=i: a + np.x)(key)
    """: "f/function key/parameter i/parameter open/builtin key/parameter file/variable total/variable file/variable "
    "read/method helper/function Thing/class ValueError/builtin error/variable j/variable j/variable total/variable "
    "j/variable a/parameter b/parameter i/parameter a/parameter np/module x/attribute key/parameter",
}


@pytest.mark.parametrize("body", CASES)
def test_every_role(body: str) -> None:
    # `as error` has no place in the tree: the name is asked where it is used
    assert [f"{word}/{role}" for word, role in roles_of(body)] == CASES[body].split()


def test_scopes_shadow() -> None:
    found = roles_of("""
    def f(x, np, y):
        global LIMIT
        LIMIT = [x for x in y if x]
        print = np.print
        return {x: print for x, z in y}, x, LIMIT
    """)
    words = [pair for pair in found if pair[0] in ("x", "np", "print", "LIMIT", "z")]
    assert words == [
        ("x", "parameter"), ("np", "parameter"), ("LIMIT", "variable"),
        ("x", "variable"), ("x", "variable"), ("x", "variable"),
        ("print", "variable"), ("np", "parameter"), ("print", "attribute"),
        ("x", "variable"), ("print", "variable"), ("x", "variable"), ("z", "variable"), ("x", "parameter"),
        ("LIMIT", "variable"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "body", ["def f(a):\n    return a", "def f(a):\n    class B: pass\n    return B(a, a, a, a, a)"]
)
def test_too_little_or_unplaced_is_none(body: str) -> None:
    head, _, rest = body.partition("\n")
    assert tagged(one(f'{head}\n    """Words here."""\n{rest}\n', "f")) is None


def test_words_are_the_code_without_comments() -> None:
    code = "def f(a):  # why\n    é = f'{a} and more'\n    return 'long enough string' + \"no\" + é"
    words = [word for _, word in words_of(code)]
    assert words == ["def", "f", "(", "a", ")", ":", "é", "=", '""', "return", '""', "+", '"no"', "+", "é"]


@pytest.mark.parametrize("module", [json.decoder, textwrap, ast, roles])
def test_names_agree_with_the_compiler(module: object) -> None:
    """Roles of names against `symtable`, which is what Python itself resolves names with."""
    source = Path(str(module.__file__)).read_text()  # type: ignore[attr-defined]
    compared = 0
    for entry in entries_of(source, "python", "m"):
        found = tagged(entry) if entry.code else None
        if found is None:
            continue
        assert len(found.words) == len(found.tags) <= MOST_WORDS
        assert set(found.tags) <= {*ROLES, NOT_ASKED}
        assert sum(t != NOT_ASKED for t in found.tags) >= FEWEST_ASKED
        places = list(words_of(entry.code))[:MOST_WORDS]
        known = dict(oracle(entry.code, dict(entry.outer)))
        for (place, word), tag in zip(places, found.tags, strict=True):
            if place in known and word not in ("self", "cls"):
                assert tag == known[place], (entry.id, place, word)
                compared += 1
    assert compared > 50


def oracle(code: str, outer: dict[str, str]) -> Iterator[tuple[tuple[int, int], str]]:
    """(place, role) of each name directly inside a `def`, by the compiler's tables."""
    table = symtable.symtable(code, "code", "exec")

    def scan(node: ast.AST, tables: list[symtable.SymbolTable]) -> Iterator[tuple[tuple[int, int], str]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                inner = [t for t in tables[-1].get_children() if t.get_name() == child.name]
                for part in (*child.args.defaults, *child.decorator_list):
                    yield from scan(ast.Expression(part), tables)
                if len(inner) == 1:
                    for statement in child.body:
                        yield from scan(ast.Module([statement], []), [*tables, inner[0]])
            elif isinstance(
                child, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp | ast.JoinedStr
            ):
                continue
            elif isinstance(child, ast.Name):
                yield (child.lineno, child.col_offset), resolve(child.id, tables)
            else:
                yield from scan(child, tables)

    def resolve(name: str, tables: list[symtable.SymbolTable]) -> str:
        for scope in reversed(tables[1:]):
            try:
                symbol = scope.lookup(name)
            except KeyError:
                continue
            if symbol.is_parameter():
                return "parameter"
            if symbol.is_local():
                if symbol.is_namespace():
                    return "function"
                return "import" if symbol.is_imported() else "variable"
        if name in outer:
            return outer[name]
        return "builtin" if name in dir(builtins) and not name.startswith("_") else NOT_ASKED

    found = scan(ast.parse(code), [table])
    return ((place, role) for place, role in found if role != "import")
