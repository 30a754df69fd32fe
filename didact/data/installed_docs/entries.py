"""One source file, parsed and never imported -> its entries: what is documented, its signature, its text, its code.

The documentation of compiled functions is handed to a helper as a string (`add_newdoc` of numpy and scipy,
`add_docstr` of torch); such calls count as documentation too.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import re
import tokenize
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["module", "class", "function", "method", "compiled", "readme"]
Callable_ = ast.FunctionDef | ast.AsyncFunctionDef

DOCUMENTING_CALLS = frozenset({"add_newdoc", "add_docstr", "add_docstr_all", "_add_docstr"})
MOST_CODE = 4000  # characters of one callable's code that are kept; whole lines


@dataclass(frozen=True)
class Entry:
    """One documented thing. module: dotted; name: qualified within the module ("" for the module itself);
    signature: "def name(…) -> …:" or "class Name(…):", "" where there is none; doc: cleaned as `inspect.cleandoc`
    does; code: source without docstring, "" for modules and classes; outer: what the module-level names that occur in
    the code are ("function", "class", "module", "imported", "variable"), sorted."""

    library: str
    module: str
    name: str
    kind: Kind
    signature: str
    doc: str
    code: str
    outer: tuple[tuple[str, str], ...] = ()

    @property
    def id(self) -> str:
        return f"{self.module}:{self.name}" if self.name else self.module

    @property
    def content(self) -> bytes:
        """What de-duplication compares: the words alone, whatever their case and spacing."""
        return hashlib.blake2b(" ".join(re.findall(r"\w+", self.doc.lower())).encode(), digest_size=12).digest()


def read_source(path: Path) -> str:
    """The file's text in the encoding it declares. Raises SyntaxError, UnicodeDecodeError or OSError."""
    with tokenize.open(path) as file:
        return file.read()


def parse(source: str) -> ast.Module:
    """`ast.parse` without the warnings that other people's escapes cause. Raises SyntaxError, ValueError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(source)


def entries_of(source: str, library: str, module: str) -> list[Entry]:
    """Every documented module, class and callable of one file, in source order."""
    if '"""' not in source and "'''" not in source:
        return []  # no documentation: nothing to parse
    return list(_Reader(source, library, module).read())


@dataclass(frozen=True)
class _Reader:
    source: str
    library: str
    module: str

    def read(self) -> Iterator[Entry]:
        tree = parse(self.source)
        lines = self.source.split("\n")  # as the parser counts them: a form feed ends no line
        outer = dict(module_names(tree.body))
        if doc := _doc(tree):
            yield Entry(self.library, self.module, "", "module", "", doc, "")
        yield from self._inside(tree, lines, outer, "", in_class=False)

    def _inside(
        self, node: ast.AST, lines: list[str], outer: dict[str, str], prefix: str, in_class: bool
    ) -> Iterator[Entry]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                name = f"{prefix}{child.name}"
                if doc := _doc(child):
                    yield Entry(self.library, self.module, name, "class", class_signature(child), doc, "")
                yield from self._inside(child, lines, outer, f"{name}.", in_class=True)
            elif isinstance(child, Callable_):
                name = f"{prefix}{child.name}"
                if doc := _doc(child):
                    code = code_of(child, lines)
                    used = outer.keys() & set(re.findall(r"[^\W\d]\w*", code))
                    kind: Kind = "method" if in_class else "function"
                    yield Entry(
                        self.library, self.module, name, kind, signature(child), doc, code,
                        tuple((one, outer[one]) for one in sorted(used)),
                    )  # fmt: skip
            elif isinstance(child, ast.Expr) and isinstance(child.value, ast.Call):
                if entry := self._compiled(child.value):
                    yield entry
            elif isinstance(child, ast.If | ast.Try | ast.With):
                yield from self._inside(child, lines, outer, prefix, in_class)

    def _compiled(self, call: ast.Call) -> Entry | None:
        called = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
        if called not in DOCUMENTING_CALLS or len(call.args) < 2:
            return None
        last = call.args[-1]
        if isinstance(last, ast.Tuple) and len(last.elts) == 2:  # numpy: (method, text)
            names, last = [*call.args[:-1], last.elts[0]], last.elts[1]
        else:
            names = call.args[:-1]
        doc = inspect.cleandoc(_text(last))
        doc = "\n".join(line for line in doc.splitlines() if not re.fullmatch(r"\s*\{\w+\}\s*", line))
        name = ast.unparse(names[-1]).strip("'\"").removeprefix("torch.")
        head, _, rest = doc.partition("\n")
        if re.match(rf"\.?{re.escape(name.rsplit('.')[-1])}\(.*\)", head):
            return Entry(self.library, self.module, name, "compiled", f"def {head.lstrip('.')}:", rest.strip(), "")
        return Entry(self.library, self.module, name, "compiled", "", doc, "") if doc else None


def module_names(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    """(name, what it is) for every name a module's own statements bind; the last binding counts, as in Python."""
    for node in body:
        if isinstance(node, Callable_):
            yield node.name, "function"
        elif isinstance(node, ast.ClassDef):
            yield node.name, "class"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.asname or alias.name.split(".")[0], "module"
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, "imported"
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            for target in node.targets if isinstance(node, ast.Assign) else (node.target,):
                for one in ast.walk(target):
                    if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
                        yield one.id, "variable"
        elif isinstance(node, ast.If):
            yield from module_names(node.orelse)
            yield from module_names(node.body)
        elif isinstance(node, ast.Try):
            for handler in node.handlers:
                yield from module_names(handler.body)
            yield from module_names(node.body + node.orelse + node.finalbody)


def signature(node: Callable_, name: str | None = None) -> str:
    """ "def name(arguments) -> result:", on one line."""
    result = "" if node.returns is None else f" -> {ast.unparse(node.returns)}"
    start = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    return f"{start} {name or node.name}({ast.unparse(node.args)}){result}:"


def class_signature(node: ast.ClassDef) -> str:
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    return f"class {node.name}({bases}):" if bases else f"class {node.name}:"


def code_of(node: Callable_, lines: list[str]) -> str:
    """The callable's own source from `def` on, without docstring and indentation; whole lines up to MOST_CODE."""
    end = node.end_lineno or node.lineno
    kept = lines[node.lineno - 1 : end]
    if ast.get_docstring(node, clean=False) is not None:
        doc = node.body[0]
        first, last = doc.lineno - node.lineno, (doc.end_lineno or doc.lineno) - node.lineno
        if first == 0 or len(node.body) == 1:
            return ""  # all on one line, or nothing but the docstring
        kept = kept[:first] + kept[last + 1 :]
    indent = node.col_offset
    dedented = [line[indent:] if not line[:indent].strip() else line for line in kept]
    size = 0
    for count, line in enumerate(dedented):
        size += len(line) + 1
        if size > MOST_CODE:
            dedented = dedented[:count]
            break
    return "\n".join(line.rstrip() for line in dedented if line.strip())


def _doc(node: ast.Module | ast.ClassDef | Callable_) -> str:
    return (ast.get_docstring(node) or "").strip()


def _text(node: ast.expr) -> str:
    """The constant text of "a" + "b" and "a".format(…); "" for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return _text(node.func.value)
    return ""
