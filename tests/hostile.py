"""Byte strings and files that break things, a function of a seed and a number: what broke something can be made again
by itself, `string(seed, 4711)`."""

import random
from collections.abc import Callable, Iterator

# Sentences to mutate, some of which the tiny vocabularies of the tests know.
SENTENCES = [
    "A man rides a horse.",
    "two men ride",
    "the dog runs far",
    "Zwei Hunde laufen durch den Schnee, größer als Ähren.",
    "Ein Mann reitet auf einem Pferd.",
    "the quick brown fox jumps over a dog",
    "Un homme très âgé — « soixante-dix » ans — dort.",
    "男の人が馬に乗っています。",
    "Ψυχή и душа",
]
# What some format, tokenizer or search takes for more than text.
MARKERS = ["<s>", "</s>", "<pad>", "<unk>", "▁", "▁▁", "##", "@@", "<0x0A>", "<0x00>", "[MASK]", "|||", " ||| ", "lm:"]
MARKERS += [
    "-DOCSTART-",
    "# text = a",
    "# lowercase",
    "1-2",
    "1.1",
    "_",
    "1\ta\ta\tX",
    "\t",
    "\t\t",
    "score= 1",
    "[" * 50,
]
MARKERS += ['"', '""', "'", ",", ";", "\\", "\\n", "\\u0000", "{", '{"text": "a", "label": 1}', "null", "%s%n", "../.."]
NUMBERS = [
    "0",
    "-0",
    "1e999",
    "-1e-999",
    "nan",
    "-inf",
    "1_000",
    "0x10",
    "１２３",
    "٣٤",
    "½",
    "²",
    "9" * 400,
    "1e38",
    "1e308",
]
NUMBERS += ["2024-01-31", "2024-02-30", "0001-01-01T00:00+14:00", "9999-12-31T23:59:59-12:00", "1.7976931348623157e308"]
WHITE_SPACE = [*"\t \u00a0\u1680\u2000\u2003\u2009\u202f\u205f\u3000\u180e", "  "]
LINE_ENDS = [*"\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029", "\r\n", "\n\r"]
ZERO_WIDTH = [*"\u200b\u200c\u200d\u2060\ufeff\u00ad\ufe0f\u034f\U000e0001\U000e0061"]
BIDI = [*"\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u061cאבגשלוםمرحباﷺ"]
# Changed in number by normalizing or lowering, or with no one way back.
SPECIAL_CASES = [*"İıßẞſΣςŉǰΐﬃﷺ㋿각ÅΩKÅ\u0344\u0958\u2126\u212a\ufb1d\uff21\U0001f3fb", "가", "🏳️‍🌈", "👩‍👩‍👧", "🇩🇪"]
NO_CHARACTERS = [*"\ufffd\ufffe\uffff\ufdd0\ue000\U0010ffff"]
PLANES = [(0x20, 0x7F), (0x80, 0x800), (0x800, 0xD800), (0xE000, 0x10000), (0x10000, 0x20000), (0x20000, 0x110000)]


def strings(count: int, seed: int = 0, first: int = 0) -> Iterator[bytes]:
    """Byte strings number `first` and those after it, as hostile as they come; most are short, few are very long."""
    return (string(seed, number) for number in range(first, first + count))


def string(seed: int, number: int) -> bytes:
    chance = random.Random(f"{seed}/{number}")
    kind = chance.choice(KINDS) if number % 250 else chance.choice(LONG_KINDS)
    return kind(chance)


def damaged(content: bytes, chance: random.Random) -> bytes:
    """The content with some bytes changed, lost, doubled, or come from elsewhere in it; never the same."""
    found = content
    while found == content:
        for _ in range(chance.choice((1, 1, 1, 2, 4))):
            start, other = chance.randint(0, len(found)), chance.randint(0, len(found))
            part = found[start : start + chance.choice((1, 1, 2, 4, 16, 1000))]
            size = len(part)
            ways = [
                b"",
                part + part,
                bytes(size),
                b"\xff" * size,
                chance.randbytes(size or 1),
                found[other : other + size],
            ]
            if part:  # one bit, as often as all else: what keeps the structure reaches deepest
                ways += [bytes([part[0] ^ 1 << chance.randrange(8)]) + part[1:]] * len(ways)
            found = found[:start] + chance.choice(ways) + found[start + size :]
    return found


def _characters(chance: random.Random, most: int = 20) -> str:
    """Of any plane: unassigned ones, those for private use and those that are none, but no surrogates."""
    return "".join(chr(chance.randrange(*chance.choice(PLANES))) for _ in range(chance.randint(0, most)))


def _of(*sets: list[str]) -> Callable[[random.Random], bytes]:
    """Members of the sets among words and other characters."""

    def kind(chance: random.Random) -> bytes:
        parts = []
        for _ in range(chance.randint(1, 12)):
            parts.append(chance.choice(chance.choice(sets)))
            parts.append(chance.choice(("", "", " ", "a", "dog ", chance.choice(SENTENCES), _characters(chance, 2))))
        return "".join(parts).encode()

    return kind


def _random_bytes(chance: random.Random) -> bytes:
    return chance.randbytes(chance.randint(0, 40))


def _unicode(chance: random.Random) -> bytes:
    return _characters(chance).encode()


def _truncated(chance: random.Random) -> bytes:
    content = (chance.choice(SENTENCES) + _characters(chance)).encode()
    start = chance.randrange(len(content))
    return content[start : chance.randint(start, len(content))]


def _ill_formed(chance: random.Random) -> bytes:
    """UTF-8 as it must not be: overlong, of surrogates, beyond U+10FFFF, a continuation alone, a start alone."""
    parts = []
    for _ in range(chance.randint(1, 5)):
        code, length = chance.choice((0, 0x2F, 0x7F, 0xD800, 0xDC80, 0xDFFF, 0x110000)), chance.randint(2, 6)
        tail = [0x80 | code >> 6 * i & 0x3F for i in reversed(range(length - 1))]
        lead = 0xFF00 >> length & 0xFF
        whole = bytes([lead | min(code >> 6 * (length - 1), 0x7F >> length), *tail])
        parts.append(chance.choice((whole, whole, whole[:-1], whole[1:], b"\x80", b"\xfe", b"\xff")))
        parts.append(chance.choice((b"", b" ", b"horse", chance.choice(SENTENCES).encode())))
    return b"".join(parts)


def _nuls(chance: random.Random) -> bytes:
    text = chance.choice(SENTENCES).encode()
    for _ in range(chance.randint(1, 4)):
        place = chance.randint(0, len(text))
        text = text[:place] + b"\0" + text[place:]
    return text


def _other_encodings(chance: random.Random) -> bytes:
    text = chance.choice(SENTENCES[:6]) + _characters(chance, 4)
    encodings = ("utf-8-sig", "utf-16", "utf-16-be", "utf-32", "latin-1", "utf-7", "cp037")
    return text.encode(chance.choice(encodings), "replace")


def _combining(chance: random.Random) -> bytes:
    marks = [chr(code) for code in (*range(0x300, 0x315), 0x327, 0x345, 0x483, 0x5B0, 0x64B, 0x94D, 0x20DD, 0x3099)]
    letters = [chance.choice("aeszΩ가 ") + "".join(chance.choices(marks, k=chance.randint(0, 30))) for _ in range(3)]
    return "".join(letters).encode()


def _mutated(chance: random.Random) -> bytes:
    return damaged(chance.choice(SENTENCES).encode(), chance)


def _mixed(chance: random.Random) -> bytes:
    return b"".join(chance.choice(KINDS[:-1])(chance) for _ in range(chance.randint(2, 4)))


def _long_line(chance: random.Random) -> bytes:
    return (chance.choice(KINDS)(chance) or b"a") * chance.randint(50, 1000)


def _many_tokens(chance: random.Random) -> bytes:
    return chance.choice((b"a ", b"the dog ", "Ω ".encode(), b". ", b"1\t")) * chance.randint(1000, 3000)


def _one_word(chance: random.Random) -> bytes:
    return chance.choice(("a", "\u0301", "ﷺ", "🐎", "\u200b", "▁")).encode() * chance.randint(1000, 20_000)


KINDS = [
    _random_bytes,
    _unicode,
    _truncated,
    _ill_formed,
    _nuls,
    _other_encodings,
    _combining,
    _of(MARKERS),
    _of(NUMBERS),
    _of(WHITE_SPACE, LINE_ENDS),
    _of(LINE_ENDS),
    _of(ZERO_WIDTH),
    _of(BIDI),
    _of(SPECIAL_CASES),
    _of(NO_CHARACTERS),
    _mutated,
    _mutated,
    _mixed,
]
LONG_KINDS = [_long_line, _many_tokens, _one_word]
