"""Item sides of a generated release: random factors, popularity counted from its own rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from jobs.bench.generated_rows import Generated, GENRES, HIGH, LOW
from jobs.kernels.factors import gramian
from schemas.settings import Settings

FACTORS, RATER_FACTORS = 64, 32
REG, HALF_LIFE = 0.2, 10.0
SERVED = "ials"


def sides(rows: Generated, settings: Settings) -> dict[str, tuple[dict[str, np.ndarray], dict[str, Any]]]:
    """Arrays and constants of each model, by name."""
    rng, n = np.random.default_rng([rows.seed, 3]), rows.n_items
    factors = rng.normal(0, 0.1, (n, FACTORS)).astype(np.float32)
    rater = rng.normal(0, 0.1, (n, RATER_FACTORS)).astype(np.float32)
    scores, means = rows.popularity()
    names = {
        "item_ids": rows.item_ids,
        "genre_indices": rows.genres.ravel().astype(np.int32),
        "genre_indptr": np.arange(0, 2 * n + 1, 2),
    }
    ranking = {"alpha": settings.ials_alpha, "reg": REG, "half_life": HALF_LIFE}
    rating = {"mu": (LOW + HIGH) / 2, "reg": REG, "damping": settings.bias_damping}
    return {
        "items": (names, {"genres": list(GENRES)}),
        "popular": (
            {"scores": scores, "damped_means": means, "n_ratings": rows.counts[0]},
            {"mu": rating["mu"], "damping": rating["damping"]},
        ),
        SERVED: ({"item_factors": factors, "gramian": gramian(factors)}, ranking),
        "als": ({"item_factors": rater, "item_biases": rng.normal(0, 0.3, n)}, {**rating, "low": LOW, "high": HIGH}),
    }
