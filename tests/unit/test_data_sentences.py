from __future__ import annotations

import lzma
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from didact.data.sentences import split

CASES: tuple[tuple[str, list[str]], ...] = (
    ("One. Two! Three?", ["One.", "Two!", "Three?"]),
    ("Dr. Smith met Mr. J. R. R. Tolkien.", ["Dr. Smith met Mr. J. R. R. Tolkien."]),
    ("It cost $3.14. He paid.", ["It cost $3.14.", "He paid."]),
    ("See Fig. 3 and No. 5. No. I won't.", ["See Fig. 3 and No. 5.", "No.", "I won't."]),
    ("He left the U.S. Army in May. He rests.", ["He left the U.S. Army in May.", "He rests."]),
    ("He lives in the U.S. The end.", ["He lives in the U.S.", "The end."]),
    ("At 5 p.m. Paul left. At 6 p.m. He came.", ["At 5 p.m. Paul left.", "At 6 p.m.", "He came."]),
    ("Apple Inc. sued. Apple Inc. It won.", ["Apple Inc. sued.", "Apple Inc.", "It won."]),
    ('"Why?" he asked. "Because." She left.', ['"Why?" he asked.', '"Because."', "She left."]),
    ("He said “Go!” and went. (He did.) Yes.", ["He said “Go!” and went.", "(He did.)", "Yes."]),
    ("Wait… what? So... no. But... Then.", ["Wait… what?", "So... no.", "But...", "Then."]),
    ("Oh! . . . Oh!", ["Oh! . . .", "Oh!"]),
    ("e.g. this, i.e. that. Done.", ["e.g. this, i.e. that.", "Done."]),
    ("1. Introduction\n2. The end", ["1. Introduction", "2. The end"]),
    ("In 1999. Then 2000.", ["In 1999.", "Then 2000."]),
    ("www.example.com is down. v1.2.3 is out.", ["www.example.com is down.", "v1.2.3 is out."]),
    ("it 's good . i like it . really !", ["it 's good .", "i like it .", "really !"]),
    ("loved it! go see it.", ["loved it!", "go see it."]),
    ("Loved It . go see it", ["Loved It .", "go see it"]),
    ("他说：“你好！”然后走了。真的吗？", ["他说：“你好！”", "然后走了。", "真的吗？"]),
    ("“好！”，他说。是的；不是。", ["“好！”，他说。", "是的；", "不是。"]),
    ("我不知道……算了。圆周率是3.14。", ["我不知道……算了。", "圆周率是3.14。"]),
    ("你好吗?我很好!再见", ["你好吗?", "我很好!", "再见"]),
    ("「はい。」と言った。これは本です。", ["「はい。」", "と言った。", "これは本です。"]),
    ("यह एक वाक्य है। यह दूसरा है।", ["यह एक वाक्य है।", "यह दूसरा है।"]),
    ("هل أنت بخير؟ نعم.", ["هل أنت بخير؟", "نعم."]),
    ("یہ ایک جملہ ہے۔ دوسرا", ["یہ ایک جملہ ہے۔", "دوسرا"]),
    ("나는 학생이다. 너는 누구냐?", ["나는 학생이다.", "너는 누구냐?"]),
    ("¿Qué? ¡Sí! Él vino. Bien.", ["¿Qué?", "¡Sí!", "Él vino.", "Bien."]),
    ("Он пришёл. Она ушла!", ["Он пришёл.", "Она ушла!"]),
    ("a title\nA paragraph. Here", ["a title", "A paragraph.", "Here"]),
    ("  spaces  around. \n\n Next \t ", ["spaces  around.", "Next"]),
    ("no stop at the end", ["no stop at the end"]),
    ("", []),
    (" \n\t ", []),
    ("...", ["..."]),
    ("?!", ["?!"]),
)


@pytest.mark.parametrize(("text", "sentences"), CASES)
def test_cases(text: str, sentences: list[str]) -> None:
    assert [text[a:b] for a, b in split(text)] == sentences


def test_lines_wrapped_to_a_width() -> None:
    text = "A sentence that is\nwrapped. And one\nmore\n\nA title\n\nText."
    found = [text[a:b] for a, b in split(text, breaks=False)]
    assert found == ["A sentence that is\nwrapped.", "And one\nmore", "A title", "Text."]


@settings(max_examples=300, deadline=None)
@given(
    text=st.text(alphabet="aA1 .!?…。！？；\"'”」)\n\t,、(“U.S", max_size=60) | st.text(max_size=40),
    breaks=st.booleans(),
)
@example(text=". a", breaks=True)
def test_every_visible_character_is_in_one_sentence(text: str, breaks: bool) -> None:
    covered = [0] * len(text)
    before = 0
    for start, end in split(text, breaks):
        assert before <= start < end <= len(text)
        assert not text[start].isspace()
        assert not text[end - 1].isspace()
        for i in range(start, end):
            covered[i] += 1
        before = end
    assert all(n == 1 or c.isspace() for n, c in zip(covered, text, strict=True))


@pytest.mark.parametrize("text", ["a." * 20_000, ". " * 20_000, "\n" * 50_000, "“" * 50_000, "A. " + "x" * 50_000])
def test_time_is_linear_in_the_text(text: str) -> None:
    split(text)


def test_real_news_gives_sentences_of_sentence_length(shared_data: Path) -> None:
    with lzma.open(shared_data / "corpora" / "en-wikinews.txt.xz", "rt", encoding="utf-8") as file:
        text = file.read(300_000)
    lengths = [len(text[a:b].split()) for a, b in split(text)]
    assert 15 < sum(lengths) / len(lengths) < 25
    assert sum(n > 80 for n in lengths) < 0.005 * len(lengths)
