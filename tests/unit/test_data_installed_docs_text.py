from __future__ import annotations

import pytest

from didact.data.installed_docs.text import Mask, cut, paragraphs, plain, sections, summary

DOC = """Compute the thing.

It goes on
over two lines::

    literal = block
    here it goes

After the block, with ``code`` and :class:`~numpy.ndarray` in it.

.. note::

   This is under a directive.

>>> doctest(1)
a result that looks like words here

* bulleted words are prose too
+-----+-----+
| a   | b   |

Parameters
----------
x : int
    What x is for.

Returns
=======
Some words about it.
"""


def test_sections_of_numpydoc_and_google() -> None:
    found = sections(DOC)
    assert [(s.title, s.underlined) for s in found] == [("", False), ("parameters", True), ("returns", True)]
    assert found[1].body == "x : int\n    What x is for."
    google = sections("Do it.\n\nArgs:\n    x: What it is.\n    y: Other.\nReturns:\n    A thing.")
    assert [(s.title, s.body) for s in google[1:]] == [("args", "x: What it is.\ny: Other."), ("returns", "A thing.")]


def test_prose_is_prose_alone() -> None:
    assert list(paragraphs(sections(DOC)[0].body)) == [
        "Compute the thing.",
        "It goes on over two lines:",
        "After the block, with code and numpy.ndarray in it.",
        "* bulleted words are prose too",
    ]
    assert summary(DOC) == "Compute the thing."


@pytest.mark.parametrize(
    ("marked", "text"),
    [
        (":func:`torch.abs` of *x*", "torch.abs of x"),
        ("**bold** and ``a*b*c``", "bold and a*b*c"),
        ("see `this page <http://a.b>`_ now", "see this page now"),
        ("[text](http://x.y) here", "text here"),
        ("2 * 3 * 4 stays", "2 * 3 * 4 stays"),
    ],
)
def test_markup_goes(marked: str, text: str) -> None:
    assert plain(marked) == text


def test_cut_is_after_a_whole_word() -> None:
    assert cut("one two three", 8) == "one two"
    assert cut("short", 9) == "short"
    assert cut("one, two", 5) == "one"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Use NumPy now.", "Use now."),
        ("np.linalg.norm of x", "norm of x"),
        ("a scipy-like thing", "a like thing"),
        ("as scikit-learn's and scikit_learn do", "as 's and do"),
        ("see https://numpy.org/doc and mail a@numpy.org", "see and mail"),
        ("numpyish words and snippets stay", "numpyish words and snippets stay"),
        ("It is in numpy. Then", "It is in Then"),
        ("(numpy, scipy).", "(,)."),
        ("other.path.numpy ends", "other.path ends"),
    ],
)
def test_names_are_taken_out(text: str, left: str) -> None:
    mask = Mask.of(["numpy", "np", "scipy", "scikit-learn"])
    assert mask(text) == left
    assert mask(text) not in mask
    assert (text in mask) == ("numpyish" not in text)
