"""Which packages count: didact's runtime dependencies and the standard library, a fixed list.

The list is written out, not gathered from what happens to be installed, so that two machines speak of the same
libraries: a CUDA build of torch brings packages that a CPU build does not. What differs between machines is versions,
and these go into the fingerprint, the cache's name and every report. Nothing is ever imported: folders are found by
`importlib.machinery.PathFinder`, versions by `importlib.metadata`.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path

EXTRACTION = 1  # raised whenever the same installed files would give other entries

# Folders that hold other people's code or no documentation: a vendored copy would leak between libraries.
_TESTS = ("tests", "test", "_tests", "testdata", "bench", "benchmarks", "idlelib", "lib2to3", "turtledemo")
_OTHERS = ("vendor", "_vendor", "vendored", "_vendored", "_vendored_packages", "externals", "extern", "third_party")
_TABLES = ("encodings", "pydoc_data", "ensurepip", "site-packages", "dist-packages", "__pycache__")
SKIPPED_FOLDERS = frozenset((*_TESTS, *_OTHERS, *_TABLES))


@dataclass(frozen=True)
class Library:
    """One label of the topic task. distribution: None for the standard library; packages: what is imported;
    aliases: other ways of naming it, which give it away (whole words, any case)."""

    name: str
    distribution: str | None
    packages: tuple[str, ...]
    aliases: tuple[str, ...] = ()

    @property
    def given_away_by(self) -> tuple[str, ...]:
        """Every word that names it."""
        return tuple(dict.fromkeys((self.name, *self.packages, *self.aliases)))


def _library(name: str, packages: str = "", aliases: str = "", distribution: str | None = None) -> Library:
    return Library(name, distribution or name, tuple(packages.split()) or (name,), tuple(aliases.split()))


LIBRARIES: tuple[Library, ...] = (
    Library("python", None, (), ("cpython", "stdlib")),
    _library("torch", "torch torchgen functorch", "pytorch aten aot dynamo inductor torchinductor torchscript fx"),
    _library("numpy", aliases="np"),
    _library("scipy", aliases="sp"),
    _library("sympy"),
    _library("scikit-learn", "sklearn", "scikit"),
    _library("pandas", aliases="pd"),
    _library("pyarrow", aliases="pa arrow"),
    _library("matplotlib", "matplotlib mpl_toolkits pylab", "plt mpl pyplot"),
    _library("networkx", aliases="nx"),
    _library("huggingface-hub", "huggingface_hub", "huggingface hugging hf"),
    _library("datasets"),
    _library("tokenizers"),
    _library("safetensors"),
    _library("pydantic", "pydantic pydantic_core"),
    _library("narwhals", aliases="nw"),
    _library("fonttools", "fontTools", "fonttools"),
    _library("setuptools", "setuptools pkg_resources _distutils_hack", "distutils"),
    _library("pillow", "PIL", "pil"),
    _library("pygments"),
    _library("rich"),
    _library("mpmath", aliases="mp"),
    _library("fsspec"),
    _library("anyio", aliases="trio asyncio"),
    _library("click"),
    _library("typer"),
    _library("jinja2", aliases="jinja"),
    _library("lxml"),
    _library("joblib"),
    _library("packaging"),
    _library("pyparsing"),
    _library("portalocker"),
    _library("filelock"),
    _library("httpx", "httpx httpcore"),
    _library("httpx2", "httpx2 httpcore2"),
    _library("markdown-it-py", "markdown_it"),
    _library("python-dateutil", "dateutil"),
    _library("pyyaml", "yaml"),
    _library("regex"),
    _library("sacrebleu"),
    _library("tabulate"),
    _library("threadpoolctl"),
    _library("tqdm"),
    _library("typing-extensions", "typing_extensions"),
    _library("zstandard"),
    _library("contourpy"),
    _library("cycler"),
    _library("kiwisolver"),
    _library("dill"),
    _library("multiprocess"),
    _library("xxhash"),
    _library("aiohttp"),
    _library("requests"),
)


@dataclass(frozen=True)
class Installed:
    """A library as found: its version and the folders or single files of its packages."""

    library: Library
    version: str
    roots: tuple[Path, ...]

    def files(self) -> Iterator[tuple[Path, str]]:
        """(source file, dotted module name), in an order that does not depend on the file system."""
        for root in self.roots:
            if root.is_file():
                yield root, root.stem
                continue
            prefix = () if self.library.distribution is None else (root.name,)
            found = sorted(p for p in root.rglob("*.py*") if p.suffix in (".py", ".pyi"))
            known = {p for p in found if p.suffix == ".py"}
            for path in found:
                parts = path.relative_to(root).with_suffix("").parts
                if SKIPPED_FOLDERS.intersection(parts) or path.name.startswith(("test_", "conftest.")):
                    continue
                if path.suffix == ".pyi" and path.with_suffix(".py") in known:
                    continue  # a stub counts only where there is no source (compiled modules)
                module = ".".join((*prefix, *(parts[:-1] if parts[-1] == "__init__" else parts)))
                if module:
                    yield path, module


def installed(search: Sequence[str] | None = None, libraries: Sequence[Library] = LIBRARIES) -> list[Installed]:
    """The libraries of the list that are present, in the list's order.

    search: folders to look in instead of `sys.path` (the standard library is then left out).
    """
    found: list[Installed] = []
    for library in libraries:
        if library.distribution is None:
            if search is None:
                root = Path(sysconfig.get_path("stdlib"))
                found.append(Installed(library, platform.python_version(), (root,)))
            continue
        roots = tuple(root for package in library.packages if (root := _root(package, search)) is not None)
        if roots:
            found.append(Installed(library, _version(library.distribution, search), roots))
    return found


def fingerprint(libraries: Sequence[Installed]) -> str:
    """16 hex digits over names, versions and the extraction's own version: equal where the entries must be equal."""
    told = json.dumps([EXTRACTION, *((i.library.name, i.version) for i in libraries)])
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _root(package: str, search: Sequence[str] | None) -> Path | None:
    spec = PathFinder.find_spec(package, None if search is None else list(search))
    if spec is None:
        return None
    for place in spec.submodule_search_locations or ():
        return Path(place)
    return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None


def _version(distribution: str, search: Sequence[str] | None) -> str:
    where = {} if search is None else {"path": list(search)}
    found = metadata.MetadataPathFinder.find_distributions(
        metadata.DistributionFinder.Context(name=distribution, **where)
    )
    return next((d.version for d in found), "unknown")
