"""The counter of habits of style reads prose and leaves code out."""

import pytest

from tests import prose

DOC = """Shows what the model predicts; it says so.

What is a bucket? See `what; own` and [the page](https://example.com/what;own).

```python
own = "what; anew"
```

    value = f(what)
"""


@pytest.mark.parametrize("habit, count", [("what", 1), ("say", 1), ("semicolon", 1), ("own", 0), ("idiom", 0)])
def test_code_questions_and_urls_are_left_out(habit, count):
    assert prose.counts([prose.Prose("a.md", "docs", 1, DOC)])[habit] == count


def test_the_strings_of_a_file_are_docstrings_or_messages_and_their_lines_are_listed():
    source = '"""A file.\n\nIts own docstring."""\nraise ValueError(f"the value {x} has its own error")\nx = "own"\n'
    texts = list(prose.of_source("a.py", source))
    assert prose.listed(texts, "own") == [
        "a.py:3: docstrings: Its own docstring.",
        "a.py:4: messages: the value {} has its own error",
    ]


def test_the_table_has_the_worst_file_first_and_rates_per_1000_words():
    texts = [prose.Prose("a.md", "docs", 1, "Four words; no more."), prose.Prose("b.md", "docs", 1, "one; two; three")]
    lines = prose.table(texts)
    assert [line.split()[0] for line in lines[1:3]] == ["b.md", "a.md"]
    (docs,) = [line.split() for line in lines if line.startswith("docs")]
    assert docs[1:5] == ["7", "0.0", "0.0", "428.6"]  # 3 semicolons in 7 words
