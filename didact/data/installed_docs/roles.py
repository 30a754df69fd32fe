"""Roles: what is each identifier in a piece of code? Read off the syntax tree and its scopes, never guessed.

parameter: an argument of this function or of one inside it (reassigned or not); variable: bound any other way;
function, class, module: by `def`, `class`, `import`, here or in the module's own statements; imported: `from … import`
(whatever it is over there); builtin: Python's own; attribute: after a dot; method: after a dot and called;
keyword: the name of an argument where a function is called. Not asked: `self`, `cls`, names nothing here says anything
about, and everything that is no identifier.
"""

from __future__ import annotations

import ast
import builtins
import io
import re
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from didact.data.installed_docs.entries import Entry, parse

ROLES = (
    "parameter", "variable", "function", "class", "module", "imported", "builtin", "attribute", "method", "keyword",
)  # fmt: skip
NOT_ASKED = "_"
MOST_WORDS = 80
FEWEST_ASKED = 8
LONGEST_STRING = 12  # characters of a string literal that stays as it is; a longer one becomes ""

_UNPLACED = re.compile(r"^\s*(?:match|class)\b|:=", re.MULTILINE)
Place = tuple[int, int]  # (line from 1, character column from 0)
_FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_COMPREHENSIONS = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
_BUILTINS = frozenset(name for name in dir(builtins) if not name.startswith("_"))


@dataclass(frozen=True)
class Tagged:
    words: tuple[str, ...]
    tags: tuple[str, ...]


def tagged(entry: Entry) -> Tagged | None:
    """The first MOST_WORDS words of an entry's code and their roles; None where there is too little to ask, or a
    construct whose names have scopes or places of their own (`match`, `:=`, a class inside)."""
    if _UNPLACED.search(entry.code):
        return None
    tree, code = _longest_that_parses(entry.code)
    if tree is None:
        return None
    placed = list(islice(words_of(code), MOST_WORDS))
    roles = _Roles(code.split("\n"), dict(entry.outer), placed[-1][0][0])
    roles.visit_body(tree.body, ({},))
    tags = [_tag(word, *roles.found.get(place, ("", NOT_ASKED))) for place, word in placed]
    if sum(tag != NOT_ASKED for tag in tags) < FEWEST_ASKED:
        return None
    return Tagged(tuple(word for _, word in placed), tuple(tags))


def _tag(word: str, name: str, role: str) -> str:
    return role if name == word and word not in ("self", "cls") else NOT_ASKED


def words_of(code: str) -> Iterator[tuple[Place, str]]:
    """The code's tokens without comments and layout, each with its place; a format string is one word, as every
    string is. Raises tokenize.TokenError or SyntaxError where Python itself cannot read the code."""
    depth = 0
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        kind = tokenize.tok_name[token.type]
        if kind.endswith("STRING_START"):  # Python 3.12 and later take format strings apart
            depth += 1
            if depth == 1:
                yield token.start, '""'
        elif kind.endswith("STRING_END"):
            depth -= 1
        elif depth or kind in ("COMMENT", "NL", "NEWLINE", "INDENT", "DEDENT", "ENDMARKER"):
            continue
        elif kind == "STRING":
            prefix = token.string[: token.string.find(token.string[-1])].lower()
            short = len(token.string) <= LONGEST_STRING and "f" not in prefix
            yield token.start, token.string if short else '""'
        else:
            yield token.start, token.string


def _longest_that_parses(code: str) -> tuple[ast.Module | None, str]:
    """Code that was cut may end inside a statement: the longest run of lines, from the first, that is whole."""
    lines = code.split("\n")
    for end in range(len(lines), max(0, len(lines) - 40), -1):
        text = "\n".join(lines[:end])
        try:
            return parse(text), text
        except (SyntaxError, ValueError):
            continue
    return None, ""


@dataclass
class _Roles:
    """Walks the tree with the scopes that enclose each node, outermost first; {place: (name, role)} in `found`.

    last: the line after which nothing is asked."""

    lines: list[str]
    outer: Mapping[str, str]
    last: int
    found: dict[Place, tuple[str, str]] = field(default_factory=dict)

    def visit_body(self, body: list[ast.stmt], scopes: tuple[Mapping[str, str], ...]) -> None:
        for node in body:
            if node.lineno <= self.last:
                self.visit(node, scopes)

    def visit(self, node: ast.AST, scopes: tuple[Mapping[str, str], ...]) -> None:
        if isinstance(node, ast.JoinedStr):
            return
        if isinstance(node, _FUNCTIONS):
            self._function(node, scopes)
            return
        if isinstance(node, _COMPREHENSIONS):
            inner = (*scopes, {n: "variable" for g in node.generators for n in _stored(g.target)})
            self.visit(node.generators[0].iter, scopes)  # evaluated outside, as Python does
            for count, generator in enumerate(node.generators):
                for part in (generator.target, *(() if count == 0 else (generator.iter,)), *generator.ifs):
                    self.visit(part, inner)
            for part in (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,):
                self.visit(part, inner)
            return
        if isinstance(node, ast.Name):
            self._note(node.lineno, node.col_offset, node.id, self._role(node.id, scopes))
        elif isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute):
                self._attribute(node.func, "method")
                self.visit(node.func.value, scopes)
            else:
                self.visit(node.func, scopes)
            for keyword in node.keywords:
                if keyword.arg is not None:
                    self._note(keyword.lineno, keyword.col_offset, keyword.arg, "keyword")
            for part in (*node.args, *(k.value for k in node.keywords)):
                self.visit(part, scopes)
            return
        elif isinstance(node, ast.Attribute):
            self._attribute(node, "attribute")
        elif isinstance(node, ast.Import | ast.ImportFrom):
            self._import(node)
        for child in ast.iter_child_nodes(node):
            self.visit(child, scopes)

    def _function(self, node: _FUNCTIONS, scopes: tuple[Mapping[str, str], ...]) -> None:
        arguments = node.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        every += [one for one in (arguments.vararg, arguments.kwarg) if one is not None]
        outside = [*arguments.defaults, *(d for d in arguments.kw_defaults if d is not None)]
        outside += [one.annotation for one in every if one.annotation is not None]
        body: list[ast.stmt] = []
        if not isinstance(node, ast.Lambda):
            self._note(*self._after_def(node), node.name, "function")
            outside += [*node.decorator_list, *([] if node.returns is None else [node.returns])]
            body = node.body
        for one in every:
            self._note(one.lineno, one.col_offset, one.arg, "parameter")
        for part in outside:
            self.visit(part, scopes)
        bound, elsewhere = _bound(body)
        scope = {k: v for k, v in bound.items() if k not in elsewhere}
        inner = (*scopes, scope | {one.arg: "parameter" for one in every})
        if isinstance(node, ast.Lambda):
            self.visit(node.body, inner)
        self.visit_body(body, inner)

    def _role(self, name: str, scopes: tuple[Mapping[str, str], ...]) -> str:
        for scope in reversed(scopes):
            if name in scope:
                return scope[name]
        return self.outer.get(name) or ("builtin" if name in _BUILTINS else NOT_ASKED)

    def _attribute(self, node: ast.Attribute, role: str) -> None:
        line, end = node.end_lineno or 0, node.end_col_offset or 0
        self._note(line, end - len(node.attr.encode()), node.attr, role)

    def _after_def(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> tuple[int, int]:
        line = self.lines[node.lineno - 1].encode()
        return node.lineno, line.find(node.name.encode(), line.find(b"def", node.col_offset) + 4)

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        role = "module" if isinstance(node, ast.Import) else "imported"
        for alias in node.names:
            if "." not in alias.name and alias.name != "*":
                self._note(alias.lineno, alias.col_offset, alias.name, role)
            if alias.asname is not None:
                end = (alias.end_col_offset or 0) - len(alias.asname.encode())
                self._note(alias.end_lineno or 0, end, alias.asname, role)

    def _note(self, line: int, byte: int, name: str, role: str) -> None:
        column = len(self.lines[line - 1].encode()[:byte].decode(errors="replace"))
        self.found[line, column] = (name, role)


def _stored(node: ast.AST) -> Iterator[str]:
    for one in ast.walk(node):
        if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
            yield one.id


def _bound(body: list[ast.stmt]) -> tuple[dict[str, str], set[str]]:
    """What a function's own statements bind, and what they declare global or nonlocal; not what is bound in
    functions and comprehensions inside it."""
    bound: dict[str, str] = {}
    elsewhere: set[str] = set()
    waiting: list[ast.AST] = list(reversed(body))
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            bound.setdefault(node.name, "function")
            continue
        if isinstance(node, ast.Lambda | _COMPREHENSIONS):
            continue
        if isinstance(node, ast.Global | ast.Nonlocal):
            elsewhere.update(node.names)
        elif isinstance(node, ast.Import):
            bound.update((alias.asname or alias.name.split(".")[0], "module") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            bound.update((alias.asname or alias.name, "imported") for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            bound.setdefault(node.id, "variable")
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.setdefault(node.name, "variable")
        waiting += reversed(list(ast.iter_child_nodes(node)))
    return bound, elsewhere
