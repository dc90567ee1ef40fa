"""The section of a report on feed-forward networks: wasted positions, longer inputs, and the order of words."""

from collections.abc import Mapping

from keras_seq.comparison import figures, findings
from keras_seq.comparison.document import Section, Table, Text

_NAMES = {"feedforward": "Feed-forward, mean of the embeddings", "fixed_size": "Feed-forward, fixed positions"}


def feedforward(record: Mapping, charts) -> Section | None:
    """Tables of the padding, of inputs of twice the length, and of pairs of sentences that differ in order alone."""
    entry = record.get("feedforward") or {}
    tables = [_padding(entry), _longer(entry), _order(entry, figures.labels(record))]
    tables = [table for table in tables if table]
    if not tables:
        return None
    text = (
        "A network whose first layer has a weight for each position needs inputs of one length: shorter texts are "
        "padded, longer ones are refused or cut. A mean of embeddings takes any length, and does not depend on the "
        "order."
    )
    finding = findings.sentence(findings.feedforward(record))
    return Section("Feed-forward against recurrent", [Text(f"{finding} {text}".strip()), *tables])


def _padding(entry: Mapping) -> Table | None:
    share = figures.number(entry.get("wasted_share"))
    if share is None:
        return None
    rows = [("Length of the input", f"{entry.get('length', '-')} positions"), ("Share of padding", f"{share:.1%}")]
    names = {
        "texts": "Texts",
        "positions": "Positions",
        "wasted": "Wasted positions",
        "wasted_multiply_adds": "Wasted multiply-adds of the first layer",
        "cut_tokens": "Tokens cut from longer texts",
    }
    rows += [(title, figures.count(figures.number(entry.get(key)))) for key, title in names.items() if key in entry]
    return Table("Padding of a fixed input", ("Quantity", "Value"), rows)


def _longer(entry: Mapping) -> Table | None:
    longer = entry.get("longer") or {}
    if not longer:
        return None
    rows = [("Length of the longer input", f"{longer.get('length', '-')} positions")]
    if "refused" in longer:
        rows.append(("Refused", f"yes: {longer.get('error', '')}" if longer["refused"] else "no"))
    share = figures.number(longer.get("cut_share"))
    if figures.number(longer.get("cut_tokens")) is not None:
        rows.append(
            ("Tokens lost by cutting", figures.count(longer["cut_tokens"]) + (f" ({share:.1%})" if share else ""))
        )
    names = {"right_before": "Right answers at the length", "right_after": "Right answers after the cut"}
    names |= {"answers_lost": "Right answers lost"}
    rows += [(title, figures.count(figures.number(longer.get(key)))) for key, title in names.items() if key in longer]
    return Table("An input of twice the length", ("Quantity", "Value"), rows)


def _order(entry: Mapping, names: Mapping[str, str]) -> Table | None:
    order = entry.get("order_pairs") or {}
    apart = {name: figures.number(share) for name, share in (order.get("told_apart") or {}).items()}
    rows = [
        (_NAMES.get(name, names.get(name, name)), "-" if share is None else f"{share:.1%}")
        for name, share in apart.items()
    ]
    if not rows:
        return None
    caption = f"{order.get('pairs', 0):,} pairs of sentences with the same words in another order"
    column = "Both right" if order.get("labeled", True) else "Two different answers"
    return Table(caption, ("Architecture", column), rows)
