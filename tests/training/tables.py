"""Drawn predictions tables for the tests of this folder."""

import numpy as np

from calcinosis.training.evaluate.predictions import Predictions

LABELS = ("calcinosis_cutis", "gouty_tophus", "milium", "other")
TONES = ("ita_estimate:light", "ita_estimate:brown", "")


def drawn_table(
    seed: int = 0,
    counts: tuple[int, int, int, int] = (12, 14, 20, 120),
    skill: float = 2.0,
    digits: int = 3,
) -> Predictions:
    """A table of a model with some skill. Probabilities are coarse, so that some are tied."""
    random = np.random.default_rng(seed)
    label = np.repeat(np.arange(4), counts)
    rows = len(label)
    logits = random.normal(size=(rows, 4)) + skill * np.eye(4)[label]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    p = np.round(p[:, :3], digits)
    p = np.column_stack([p, 1 - p.sum(axis=1)]).clip(0, 1)
    best = p.argmax(axis=1)
    kind = [
        "target" if own < 3 else ("lookalike" if row % 3 else "distant")
        for row, own in enumerate(label)
    ]
    return Predictions(
        labels=LABELS,
        file=tuple(f"photos/{row}.jpg" for row in range(rows)),
        label=label,
        group=tuple(f"{own}-{row // 2}" for row, own in enumerate(label)),
        source=tuple(
            "second" if own == 2 and row % 2 else "first" for row, own in enumerate(label)
        ),
        source_label=tuple(f"condition {row % 4}" for row in range(rows)),
        kind=tuple(kind),
        skin_tone=tuple(TONES[row % 3] for row in range(rows)),
        fold=np.arange(rows) % 5,
        probabilities=p,
        prediction_set=(p > 0.2) | (np.arange(4) == best[:, None]),
        outcome=tuple(
            "out_of_scope" if top == 3 else ("suggestive" if p[row, top] > 0.6 else "uncertain")
            for row, top in enumerate(best)
        ),
    )
