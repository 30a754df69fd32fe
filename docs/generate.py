"""Writes the pages that are made from the code, by docs/made: run files, other files, verbs, families, corruptions, and
pictures/*.svg.

    python docs/generate.py            write them
    python docs/generate.py --check    exit 1 where they are not what the code says
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER))

from made.commands import commands  # noqa: E402
from made.corruptions import corruptions  # noqa: E402
from made.families import families, hidden_and_asked  # noqa: E402, F401
from made.files import files  # noqa: E402
from made.pictures import PICTURES, picture  # noqa: E402
from made.run_file import run_file  # noqa: E402

PAGES = {
    "run_file.md": run_file,
    "files.md": files,
    "commands.md": commands,
    "families.md": families,
    "corruptions.md": corruptions,
    **{f"pictures/{name.replace(' ', '_')}.svg": partial(picture, name) for name in PICTURES},
}


def main(arguments: Sequence[str]) -> int:
    """Write the pages, or with --check only compare. The exit code."""
    stale = []
    for name, make in PAGES.items():
        page, text = FOLDER / name, make()
        if not page.is_file() or page.read_text(encoding="utf-8") != text:
            stale.append(name)
            if "--check" not in arguments:
                page.parent.mkdir(exist_ok=True)
                page.write_text(text, encoding="utf-8")
    if "--check" in arguments and stale:
        print(f"not what the code says: {', '.join(stale)}; run: python docs/generate.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
