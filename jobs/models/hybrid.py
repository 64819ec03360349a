"""hybrid: a weighted sum of the other models, its weights and half-lives chosen on validation users.

Every part is linear in the history, so the sum is too: item-by-item parts of one half-life become one matrix, ials and als stay factor
models beside it, and a score still splits exactly over the history. Each part is first divided by the spread of its scores, so
that weights compare. als, which knows what a rating says, is what keeps films off a list that their user would not like. Where items may come again the user's
own frequency is a part too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from jobs.kernels.factors import ExplicitFactors, ImplicitFactors
from jobs.kernels.item_side import OWN, part_of
from jobs.kernels.rankers import OwnFrequency, WeightRanker
from jobs.kernels.training.repeats import own_weights
from jobs.kernels.weights import combined, ItemWeights
from jobs.models import als, ials
from jobs.models.base.blending import named, Pool, SAMPLE_USERS, search_weights, spread_of, Term, Weights
from jobs.models.base.contract import ModelArrays, Scorer, TrainingData
from jobs.models.base.judge import judge_of
from jobs.models.base.scoring import by_part
from jobs.models.base.search import DEFAULT_HALF_LIFE
from schemas.models import FOREVER, MODELS, RATER
from schemas.setting_groups import OFF
from warehouse import model_files

_PARTS = MODELS["hybrid"].parts
_OF_FACTORS = {"ials": ials.factors_of, RATER: als.rater}
ITEM_BY_ITEM = tuple(name for name in _PARTS if name not in _OF_FACTORS)
Part = ItemWeights | ImplicitFactors | ExplicitFactors | OwnFrequency


def fit(data: TrainingData) -> ModelArrays:
    """A search over the weights and the half-life of each part, by nDCG@10; ties to the longer half-life and the simpler blend."""
    parts = parts_of(data)
    ranking = [name for name in parts if name != RATER]
    if not set(ranking) - {OWN}:
        raise ValueError(f"nothing to blend: none of {', '.join(_PARTS)} was trained")
    sample, judge = data.interactions.some(SAMPLE_USERS), judge_of(data, rater=parts.get(RATER))
    if data.chosen:
        shares: Weights = {(part_of(term), data.chosen["half_lives"][term]): share for term, share in data.chosen["shares"].items()}
        learned = {key: data.chosen[key] for key in ("validation_ndcg_at_10", "n_validation_users")}
    elif judge is not None:
        pool = Pool(parts, lambda term: scorer_of(parts, term), judge, sample, half_life=data.settings.half_life)
        shares, value = search_weights(pool, alone=ranking, with_one=[name for name in parts if name == RATER])
        learned = {"validation_ndcg_at_10": round(value, 6), "n_validation_users": len(judge)}
    else:
        shares = {(ranking[0], data.settings.half_life or DEFAULT_HALF_LIFE): 1.0}
        learned = {"validation_ndcg_at_10": 0.0, "n_validation_users": 0}
    weights = {term: share / spread_of(scorer_of(parts, term), sample) for term, share in shares.items()}
    return _side(data, parts, shares, weights, learned)


def parts_of(data: TrainingData) -> dict[str, Part]:
    """The item sides that were fitted before, the item-by-item ones first, and the user's own frequency last."""
    parts: dict[str, Part] = {}
    for name in ITEM_BY_ITEM:
        if model_files.exists(data.sides / name):
            parts[name] = ItemWeights(**model_files.load(data.sides / name)[0])
    for name, part in _OF_FACTORS.items():
        if model_files.exists(data.sides / name):
            parts[name] = part(ModelArrays(*model_files.load(data.sides / name)))
    rows = data.interactions
    if data.settings.repeats != OFF and rows.counts is not None:
        parts[OWN] = OwnFrequency(own_weights(rows.items, rows.counts, data.n_items))
    return parts


def scorer_of(parts: Mapping[str, Part], term: Term) -> Scorer:
    name, half_life = term
    part = parts[name]
    return by_part(WeightRanker(part, half_life) if isinstance(part, ItemWeights) else replace(part, half_life=half_life))


def _side(data: TrainingData, parts: Mapping[str, Part], shares: Weights, weights: Weights, learned: dict[str, Any]) -> ModelArrays:
    """A matrix for each half-life of the item-by-item terms, one that is empty where there are none."""
    half_lives = sorted({at for name, at in weights if name in ITEM_BY_ITEM}) or [FOREVER]  # the order of matrices_of
    arrays: dict[str, Any] = {}
    for number, half_life in enumerate(half_lives):
        terms = [(weight, parts[name]) for (name, at), weight in weights.items() if name in ITEM_BY_ITEM and at == half_life]
        whole = combined(terms, data.n_items, data.weights_keep)
        arrays |= {f"{name}{number or ''}": getattr(whole, name) for name in ("indptr", "indices", "data")}
    if OWN in {name for name, _ in weights}:
        arrays["own_weights"] = parts[OWN].own_weights
    terms = named(weights)
    return ModelArrays(
        arrays,
        {
            "half_life": min(half_lives[0], FOREVER),
            "shares": {name: shares[term] for name, term in terms.items()},
            "half_lives": {name: min(term[1], FOREVER) for name, term in terms.items()},
            "weights": {name: weights[term] for name, term in terms.items()},
            **learned,
        },
    )
