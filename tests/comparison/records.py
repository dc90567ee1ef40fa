"""Made records of comparisons, by the schema of `comparison.json`."""

LABELS = {"rnn": "RNN", "gru": "GRU", "lstm": "LSTM", "mingru": "MinGRU", "minlstm": "MinLSTM", "rglru": "RG-LRU"}
LABELS |= {"transformer": "Transformer", "feedforward": "Feed-forward"}
GATES = {"rnn": 0, "gru": 2, "lstm": 3, "mingru": 1, "minlstm": 2, "rglru": 2, "transformer": 0, "feedforward": 0}
# name: units, score, seconds per token, bytes, whole-sequence speed-up
NUMBERS = {
    "rnn": (192, 0.702, 7e-6, 310e6, 6.5),
    "gru": (112, 0.771, 1.1e-5, 420e6, 7.2),
    "lstm": (96, 0.766, 1.4e-5, 510e6, 7.0),
    "mingru": (156, 0.768, 6.1e-6, 450e6, 31.0),
    "minlstm": (132, 0.765, 8.2e-6, 480e6, 29.0),
    "rglru": (128, 0.759, 9.9e-6, 530e6, 26.0),
    "transformer": (80, 0.741, 9.1e-6, 690e6, 88.0),
    "feedforward": (270, 0.744, 2.1e-6, 150e6, 41.0),
}


def full() -> dict:
    """A record with every field."""
    return {
        "title": "Sentiment (rt_polarity)",
        "recipe": "sentiment",
        "data": "rt_polarity",
        "command": "keras-seq compare sentiment --data-dir rt_polarity --learning-rates 1e-3 3e-3 1e-2 --seeds 1 2",
        "hardware": "2 cores of AMD EPYC 9R14",
        "versions": {"keras": "3.15.1", "tensorflow": "2.21.0", "keras_seq": "0.1.0"},
        "equal": {"parameters": 120_000, "tolerance": 0.05},
        "budget": {"tokens": 400_000},
        "grid": {"learning_rates": [0.001, 0.003, 0.01], "seeds": [1, 2]},
        "score": {
            "name": "accuracy",
            "mode": "max",
            "unit": "fraction",
            "split": "valid",
            "converged_at": 0.65,
            "converged_rule": "half way from chance (0.50) to the best score of any run (0.78)",
        },
        "seconds": 1500.0,
        "architectures": [architecture(name) for name in NUMBERS],
        "memory": {
            "task": "addition",
            "lengths": [5, 10, 20, 40, 80],
            "scores": {
                "rnn": [0.95, 0.92, 0.9, 0.7, 0.35],
                "gru": [1.0, 1.0, 1.0, 1.0, 0.999],
                "lstm": [1.0, 1.0, 1.0, 1.0, 0.98],
                "transformer": [1.0, 1.0, 1.0, 1.0, 0.96],
            },
        },
        "feedforward": {
            "length": 100,
            "wasted_share": 0.79,
            "texts": 1066,
            "positions": 106_600,
            "wasted": 84_214,
            "wasted_multiply_adds": 84_214 * 64 * 64,
            "longer": {
                "length": 200,
                "refused": True,
                "error": "expected shape=(None, 100), found shape=(1066, 200)",
                "cut_tokens": 21_000,
                "cut_share": 0.97,
                "right_before": 760,
                "right_after": 533,
                "answers_lost": 360,
            },
            "order_pairs": {"pairs": 200, "told_apart": {"feedforward": 0.0, "fixed_size": 0.41, "lstm": 0.97}},
        },
    }


def architecture(name: str) -> dict:
    units, score, seconds, size, speedup = NUMBERS[name]
    factor = {"lstm": 4, "gru": 3}.get(name)
    backbone = factor * (2 * units**2 + units * (2 if name == "gru" else 1)) if factor else 74_000
    entry = {
        "name": name,
        "label": LABELS[name],
        "gates": GATES[name],
        "states": {"lstm": 2, "transformer": 0, "feedforward": 0}.get(name, 1),
        "units": units,
        "num_layers": 1,
        "parameters": backbone + 47_000,
        "backbone_parameters": backbone,
        "runs": [run(rate, seed, score) for rate in (0.001, 0.003, 0.01) for seed in (1, 2)],
        "best": {"learning_rate": 0.003, "scores": [score - 0.003, score + 0.003], "mean": score, "spread": 0.0042},
        "converged": 2 if name == "rnn" else 4 if name == "transformer" else 6,
        "attempts": 6,
        "quality_by_length": [
            {"from": 1, "to": 10, "rows": 210, "score": score + 0.02},
            {"from": 11, "to": 20, "rows": 420, "score": score},
            {"from": 21, "to": 40, "rows": 390, "score": score - (0.11 if name == "rnn" else 0.02)},
            {"from": 41, "to": None, "rows": 12, "score": 0.5},
        ],
        "cost": {
            "seconds_per_token": seconds,
            "first_step_seconds": 3.2,
            "peak_bytes": size,
            "flop_per_token": 6.0 * backbone,
            "threads_speedup": 1.7 if name == "transformer" else 1.3,
            "whole_sequence_speedup": speedup,
            "generation": [
                {"length": n, "seconds_per_token": 4e-4 * (1 + n / 200 if name == "transformer" else 1)}
                for n in (16, 64, 256, 512)
            ],
        },
    }
    if factor:
        entry |= {"formula": f"{factor}(dh + hh + h)", "formula_value": factor * (2 * units**2 + units)}
    if name == "rnn":
        entry["runs"][-2] |= {"status": "diverged", "reason": "loss is nan after 31,000 tokens", "score": None}
        entry["runs"][-1] |= {"status": "failed", "reason": "<b>out of memory</b> & more", "score": None}
    return entry


def run(rate: float, seed: int, score: float) -> dict:
    score = score - abs(rate - 0.003) * 9 + (0.003 if seed == 2 else -0.003)
    curve = [[40_000 * step, score - 0.25 / step] for step in range(1, 11)]
    return {
        "learning_rate": rate,
        "seed": seed,
        "status": "done",
        "score": score,
        "tokens": 400_123,
        "seconds": 31.0,
        "curve": curve,
    }


def with_numbers(record: dict, key: str, numbers: dict, part: str = "cost") -> dict:
    """The record with another number `key` of each named architecture, in a part of its entry ("": in the entry)."""
    for entry in record["architectures"]:
        if entry["name"] in numbers:
            (entry[part] if part else entry)[key] = numbers[entry["name"]]
    return record
