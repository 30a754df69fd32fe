"""A small tree of installed packages, written to disk: numpy and scipy by name, nothing of theirs in it."""

from __future__ import annotations

from pathlib import Path

from didact.data.installed_docs.entries import Entry, entries_of

WORDS = """
    array matrix vector graph node edge tensor table row column index value signal filter window spectrum kernel
    basis solver root curve surface mesh point axis plane norm rank trace inverse factor product sum mean median
""".strip().split()


def module_source(number: int, functions: int = 6) -> str:
    """A module whose functions all differ, with numpydoc parameters."""
    parts = [f'"""Module {number} about the {WORDS[number % len(WORDS)]} of things that are counted."""', "import math"]
    for i in range(functions):
        word = WORDS[(number * 7 + i) % len(WORDS)]
        parts.append(
            f'''
def work_{number}_{i}(alpha, beta=1, *, gamma=None):
    """Compute the {word} number {number * 100 + i} of whatever numpy.array is given here, and say so at once.

    Parameters
    ----------
    alpha : float
        The {word} that is looked at, number {number} of {i}. Another sentence.
    beta : int, optional
        How often the {word} counts in part {number} of {i}.
    gamma : str
        What the {word} is called in book {number} of {i}.

    Returns
    -------
    float
        The result.
    """
    total = math.sqrt(alpha) + beta
    for step in range(3):
        total = total + step
    return work_helper(total, name=gamma)
'''
        )
    return "\n".join(parts)


def site_packages(folder: Path, modules: int = 12) -> Path:
    """numpy 1.0 and scipy 2.0 with `modules` modules each in four subpackages, tests and a vendored copy."""
    for number, (name, version) in enumerate((("numpy", "1.0"), ("scipy", "2.0"))):
        root = folder / name
        for sub in range(4):
            package = root / f"part{sub}"
            package.mkdir(parents=True)
            (package / "__init__.py").write_text(f'"""Part {sub} of {name}, the one about many things."""\n')
            for m in range(modules // 4):
                where = package / f"m{m}.py"
                where.write_text(module_source(number * 1000 + sub * 100 + m))
        (root / "__init__.py").write_text('"""The whole package and what it does for everyone."""\n')
        for skipped in ("tests", "_vendor"):
            (root / skipped).mkdir()
            (root / skipped / "__init__.py").write_text('"""Nobody should ever read this text here."""\n')
        info = folder / f"{name}-{version}.dist-info"
        info.mkdir()
        metadata = (
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\n# {name}\n\nThe package {name} for all.\n"
        )
        (info / "METADATA").write_text(metadata)
    return folder


def one(source: str, name: str = "") -> Entry:
    """The entry of that name in a file."""
    return next(e for e in entries_of(source, "numpy", "numpy.x") if e.name == name)
