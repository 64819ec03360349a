"""neural: neural collaborative filtering (NeuMF, He et al. 2017) in PyTorch on the CPU; compared with the others, not served.

    score_ui = w' [ p_u * q_i ; MLP([p'_u ; q'_i]) ],  p_u the mean of the input embeddings of u's history, weighed by recency

He et al. learn an embedding of each user. Here a user is their history, as everywhere (Kabbur et al. 2013, FISM), so that
somebody who was not trained on is scored too; in training an item is taken out of the history that it is predicted from.
Loss: binary cross-entropy of each interaction against items drawn at random, NEGATIVES each time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, diags_array

from jobs.kernels.histories import Histories
from jobs.kernels.spans import owners
from jobs.models.base.contract import ModelArrays, Scorer, TrainingData
from jobs.models.base.judge import judge_of
from jobs.models.base.search import DEFAULT_HALF_LIFE, half_life_of
from schemas.errors import ResourceError

FACTORS, HIDDEN, NEGATIVES = 32, (32, 16), 4
LEARNING_RATE, DECAY = 3e-3, 1e-5
BATCHES, LARGEST = 40, 4096  # interactions are gone through in so many batches, or more where they would be larger
EPOCHS, EPOCHS_TUNING = 8, 20
JUDGES = 100  # validation users: every pair of theirs goes through the layers, again after each epoch
CELLS = 1 << 19  # pairs of user and item that go through the layers at once


def fit(data: TrainingData) -> ModelArrays:
    """Epochs are counted on validation users: training stops after the best of them. Raises ResourceError without PyTorch."""
    torch = _torch()
    judge = judge_of(data, most_users=JUDGES)
    known = np.flatnonzero(data.n_ratings > 0)
    if len(known) < 2:
        raise ValueError("neural needs two items or more to tell apart")
    torch.manual_seed(data.settings.seed)
    model = _Layers(torch, data.n_ratings)
    most = data.chosen.get("epochs") or (EPOCHS_TUNING if data.tune else EPOCHS)
    draw, optimiser = np.random.default_rng(data.settings.seed), torch.optim.Adam(model.parameters(), LEARNING_RATE, weight_decay=DECAY)
    best, arrays, epochs = -1.0, model.arrays(), most
    for epoch in range(1, most + 1):
        _epoch(torch, model, optimiser, data, known, draw)
        value = judge.ndcg(_scorer(model.arrays(), known, DEFAULT_HALF_LIFE)) if judge is not None else float(epoch)
        if value > best:
            best, arrays, epochs = value, model.arrays(), epoch
    half_life = half_life_of(data, judge, lambda at: _scorer(arrays, known, at))
    return ModelArrays(arrays, {"half_life": half_life, "epochs": epochs})


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise ResourceError("neural needs PyTorch, which is not installed; install it with: pip install '.[neural]'") from None
    torch.set_num_threads(1)  # as every step has it: its threads wait for each other where a machine has other work
    return torch


class _Layers:
    """The parameters as tensors, by name."""

    def __init__(self, torch: Any, n_ratings: np.ndarray) -> None:
        """Start each item with how often it was chosen, as its log odds against the mean."""
        n_items = len(n_ratings)
        sizes = (2 * FACTORS, *HIDDEN)
        shapes = {name: (n_items, FACTORS) for name in ("gmf_in", "gmf_out", "mlp_in", "mlp_out")}
        for place, (wide, narrow) in enumerate(zip(sizes, sizes[1:])):
            shapes |= {f"layer_{place}": (wide, narrow), f"shift_{place}": (narrow,)}
        shapes |= {"last": (FACTORS + HIDDEN[-1],), "bias": (n_items,)}
        self._torch = torch
        self.named = {}
        for name, shape in shapes.items():
            scale = 0.05 if shape[0] == n_items else (2.0 / shape[0]) ** 0.5
            start = torch.zeros(shape) if name.startswith(("shift", "bias")) else torch.randn(shape) * scale
            self.named[name] = start.requires_grad_()
        with torch.no_grad():
            known = np.log1p(n_ratings) - np.log1p(n_ratings).mean()
            self.named["bias"] += torch.from_numpy(known.astype(np.float32))

    def parameters(self) -> list:
        return list(self.named.values())

    def arrays(self) -> dict[str, np.ndarray]:
        return {name: tensor.detach().numpy().copy() for name, tensor in self.named.items()}

    def score(self, gmf: Any, mlp: Any, items: Any) -> Any:
        """Scores of pairs of users' two vectors (b, f) and items (b,)."""
        p, torch = self.named, self._torch
        hidden = torch.cat([mlp, p["mlp_out"][items]], 1)
        for place in range(len(HIDDEN)):
            hidden = torch.relu(hidden @ p[f"layer_{place}"] + p[f"shift_{place}"])
        return torch.cat([gmf * p["gmf_out"][items], hidden], 1) @ p["last"] + p["bias"][items]


def _epoch(torch: Any, model: _Layers, optimiser: Any, data: TrainingData, known: np.ndarray, draw: np.random.Generator) -> None:
    rows = data.interactions
    lengths, user_of = np.diff(rows.indptr), owners(rows.indptr)
    order = draw.permutation(np.flatnonzero(lengths[user_of] > 1))
    history = csr_matrix(
        (np.ones(len(rows.items), np.float32), np.asarray(rows.items), np.asarray(rows.indptr)), shape=(rows.n_users, rows.n_items)
    )
    size = int(np.clip(len(order) // BATCHES, 32, LARGEST))
    for start in range(0, len(order), size):
        batch = order[start : start + size]
        users, positives = user_of[batch], np.asarray(rows.items)[batch]
        distinct, place = np.unique(users, return_inverse=True)
        own = history[distinct]
        sums = [_sparse(torch, own) @ model.named[name] for name in ("gmf_in", "mlp_in")]
        n = torch.from_numpy(lengths[users] - 1.0).float()[:, None]
        mine = torch.from_numpy(positives.astype(np.int64))
        vectors = [(of[torch.from_numpy(place)] - model.named[name][mine]) / n for of, name in zip(sums, ("gmf_in", "mlp_in"))]
        negatives = torch.from_numpy(known[draw.integers(0, len(known), len(batch) * NEGATIVES)])
        loss = torch.nn.functional.softplus(-model.score(*vectors, mine)).mean()
        repeated = [vector.repeat_interleave(NEGATIVES, 0) for vector in vectors]
        loss = loss + NEGATIVES * torch.nn.functional.softplus(model.score(*repeated, negatives)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def _sparse(torch: Any, matrix: csr_matrix) -> Any:
    coo = matrix.tocoo()
    places = torch.from_numpy(np.stack([coo.row, coo.col]).astype(np.int64))
    return torch.sparse_coo_tensor(places, torch.from_numpy(coo.data), matrix.shape, check_invariants=False)


def scorer(side: ModelArrays, data: TrainingData) -> Scorer:
    return _scorer(side.arrays, np.flatnonzero(data.n_ratings > 0), side.parameters["half_life"])


def _scorer(arrays: dict[str, np.ndarray], known: np.ndarray, half_life: float) -> Scorer:
    """In numpy: the layers of He et al., for some users and all known items at a time."""
    n_items = len(arrays["bias"])
    wide = arrays["layer_0"][FACTORS:]
    first = arrays["mlp_out"][known] @ wide + arrays["shift_0"]  # the items' share of the first layer, the same for everybody

    def scores(histories: Histories) -> np.ndarray:
        weights = histories.recency(half_life).astype(np.float32)
        rows = csr_matrix((weights, histories.items, histories.indptr), shape=(len(histories), n_items))
        totals = np.asarray(rows.sum(axis=1)).ravel()
        rows = diags_array(np.divide(1.0, totals, out=np.zeros_like(totals), where=totals > 0)) @ rows
        gmf, mlp = (rows @ arrays[name] for name in ("gmf_in", "mlp_in"))
        of_items = np.full((len(histories), n_items), -np.inf, np.float32)
        at_once = max(1, CELLS // len(known))
        for start in range(0, len(histories), at_once):
            some = slice(start, start + at_once)
            hidden = np.maximum((mlp[some] @ arrays["layer_0"][:FACTORS])[:, None, :] + first[None], 0.0)
            for place in range(1, len(HIDDEN)):
                hidden = np.maximum(hidden @ arrays[f"layer_{place}"] + arrays[f"shift_{place}"], 0.0)
            products = (gmf[some] * arrays["last"][:FACTORS]) @ arrays["gmf_out"][known].T
            of_items[some, known] = products + hidden @ arrays["last"][FACTORS:] + arrays["bias"][known]
        return of_items

    return scores
