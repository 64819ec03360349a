"""From the options of `bench accuracy` to the cuts of a protocol, each with the cut inside its training rows to tune on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jobs.kernels.evaluation.protocols import (
    given,
    global_time,
    kfold,
    last_fraction,
    leave_one_out,
    next_basket,
    Protocol,
    random_ratio,
    Rows,
    Split,
    strong_generalization,
    validation_of,
)
from schemas.errors import UsageError

GIVEN = "given"
NEXT_BASKET = "next_basket"
PROTOCOLS = ("last_fraction", "global_time", "leave_one_out", NEXT_BASKET, "random_ratio", "kfold", "strong_generalization", GIVEN)
FRACTIONS = {"last_fraction": 0.2, "global_time": 0.2, "random_ratio": 0.25, "strong_generalization": 0.2}
NEED_TIMES = ("last_fraction", "global_time", "leave_one_out", NEXT_BASKET)
LATER = 0.9  # of the users whose tested rows come last, from which on a given cut is one in time
VALIDATED = 0.1  # of the training rows, to tune on, where rows are drawn: what is left has to be nearly as many as in the end
HELD_SHARE = 0.1  # strong generalisation: users tested, of all; as many again to tune on


@dataclass(frozen=True)
class Cutting:
    """A protocol with its options, None if one was not given; those that the protocol has no use for are refused."""

    protocol: str
    seed: int
    fraction: float | None = None
    negatives: str | None = None
    stratify: str | None = None
    folds: int | None = None
    threshold: float | None = None
    min_items: int | None = None
    held_users: int | None = None
    train: str | None = None
    test: str | None = None

    TAKES = {
        "fraction": tuple(FRACTIONS),
        "negatives": ("leave_one_out",),
        "stratify": ("random_ratio",),
        "folds": ("kfold",),
        "threshold": ("strong_generalization",),
        "min_items": ("last_fraction", "global_time", "strong_generalization"),
        "held_users": ("strong_generalization",),
        "train": (GIVEN,),
        "test": (GIVEN,),
    }

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise UsageError(f"protocol {self.protocol!r}: expected one of {', '.join(PROTOCOLS)}")
        for option, protocols in self.TAKES.items():
            if getattr(self, option) is not None and self.protocol not in protocols:
                flag = f"--{option.replace('_', '-')}"
                raise UsageError(f"{flag} means nothing to {self.protocol}; it belongs to {', '.join(protocols)}")
        if self.protocol == GIVEN and not (self.train and self.test):
            raise UsageError(
                "given: expected --train FILE and --test FILE, the rows of a cut, got "
                f"--train {self.train or 'nothing'} and --test {self.test or 'nothing'}"
            )
        if not 0 < self.tested < 1:
            raise UsageError(f"--fraction is the share of rows that is tested: expected above 0 and below 1, got {self.tested}")
        if self.negatives not in (None, "all") and not str(self.negatives).isdigit():
            raise UsageError(f"--negatives: expected a count such as 99, or all, got {self.negatives!r}")
        for option, least in (("folds", 2), ("min_items", 1), ("held_users", 1)):
            value = getattr(self, option)
            if value is not None and value < least:
                raise UsageError(f"--{option.replace('_', '-')}: expected at least {least}, got {value}")

    @property
    def tested(self) -> float:
        return self.fraction if self.fraction is not None else FRACTIONS.get(self.protocol, 0.2)

    @property
    def n_cuts(self) -> int:
        return (self.folds or 5) if self.protocol == "kfold" else 1

    def options(self) -> dict[str, Any]:
        """Return the options that decided the cut, by name; those that were not given have their defaults."""
        chosen = {
            "last_fraction": {"fraction": self.tested, "min_items": self.min_items or 5},
            "global_time": {"fraction": self.tested, "min_items": self.min_items or 1},
            "leave_one_out": {"negatives": self.negatives or "99"},
            "random_ratio": {"fraction": self.tested, "stratify": self.stratify},
            NEXT_BASKET: {},
            "kfold": {"folds": self.n_cuts},
            "strong_generalization": {
                "fraction": self.tested,
                "threshold": self.threshold,
                "min_items": self.min_items or 5,
                "held_users": self.held_users,
            },
            GIVEN: {"train": self.train, "test": self.test},
        }[self.protocol]
        return {"protocol": self.protocol, **chosen}


class Cut(NamedTuple):
    """A split to measure on, and one inside its training rows to choose hyper-parameters by. is_same_training: the second has
    the training rows of the first, so what was fitted for the one is fitted for the other."""

    split: Split
    validation: Split
    is_same_training: bool

    def save(self, folder: Path) -> None:
        """Write files that other processes read; a split without candidates has no such file."""
        for name, split in (("split", self.split), ("validation", self.validation)):
            (folder / name).mkdir(parents=True)
            for field, array in split._asdict().items():
                if array is not None:
                    np.save(folder / name / f"{field}.npy", array)
        np.save(folder / "is_same_training.npy", self.is_same_training)

    @classmethod
    def open(cls, folder: Path) -> Cut:
        splits = (Split(**{path.stem: np.load(path) for path in (folder / name).glob("*.npy")}) for name in ("split", "validation"))
        return cls(*splits, bool(np.load(folder / "is_same_training.npy")))


def cuts(cutting: Cutting, rows: Rows, *, has_times: bool, is_tested: np.ndarray | None = None) -> Iterator[Cut]:
    """The cuts of a protocol: one, or one a fold. is_tested (m,) bool: the tested rows of a given cut. Raises UsageError if nobody
    would be tested."""
    if is_tested is not None:
        yield _given(cutting, rows, is_tested, has_times=has_times)
        return
    if cutting.protocol in NEED_TIMES and not has_times:
        raise UsageError(f"{cutting.protocol} needs the time of each interaction, which this source does not have: use random_ratio")
    for fold in range(cutting.n_cuts):
        outer, inner = _protocols(cutting, rows, fold)
        try:
            split = outer(rows)
        except ValueError as error:
            raise UsageError(f"{cutting.protocol}: {error}") from None
        if len(split.users) == 0 or not split.train.any():
            raise UsageError(f"{cutting.protocol} leaves nobody to test among {len(np.unique(rows.users)):,} users: {cutting.options()}")
        if inner is None:
            validation = outer.func(rows, **outer.keywords | {"group": 1})
            yield Cut(split, validation, True)
        else:
            yield Cut(split, validation_of(rows, split.train, inner), False)


def _given(cutting: Cutting, rows: Rows, is_tested: np.ndarray, *, has_times: bool) -> Cut:
    """A cut that was made elsewhere. Hyper-parameters are chosen on rows that are cut off likewise: each user's last, if the tested rows
    are later than the others of their users, else drawn ones."""
    split = given(rows, is_tested=is_tested)
    if len(split.users) == 0 or not split.train.any():
        raise UsageError(
            f"given: expected rows to train on and to test that are not the same pairs, got {cutting.train} and {cutting.test}"
        )
    inner: Protocol = partial(random_ratio, seed=cutting.seed + 1, ratio=1 - VALIDATED, within="user")
    if has_times and _is_later(rows, is_tested):
        inner = partial(last_fraction, fraction=float(is_tested.mean()))
    return Cut(split, validation_of(rows, split.train, inner), False)


def _is_later(rows: Rows, is_tested: np.ndarray) -> bool:
    """Whether the tested rows of nine users in ten come after all their others."""
    n_users = int(rows.users.max()) + 1
    last, first = np.full(n_users, -np.inf), np.full(n_users, np.inf)
    np.maximum.at(last, rows.users[~is_tested], rows.times[~is_tested])
    np.minimum.at(first, rows.users[is_tested], rows.times[is_tested])
    users = np.unique(rows.users[is_tested])
    return float((first[users] >= last[users]).mean()) >= LATER


def _protocols(cutting: Cutting, rows: Rows, fold: int) -> tuple[partial, Protocol | None]:
    """The protocol, and the same for inside its training rows, drawn with the next seed; None if a second group of its own
    users is what to tune on."""
    seed, tested, least = cutting.seed, cutting.tested, cutting.min_items
    match cutting.protocol:
        case "last_fraction":
            protocol = partial(last_fraction, fraction=tested, min_history=least or 5)
            return protocol, protocol
        case "global_time":
            protocol = partial(global_time, quantile=1 - tested, min_history=least or 1)
            return protocol, protocol
        case "next_basket":
            return partial(next_basket), next_basket
        case "leave_one_out":
            n = None if cutting.negatives == "all" else int(cutting.negatives or 99)
            return tuple(partial(leave_one_out, seed=s, n_negatives=n) for s in (seed, seed + 1))
        case "random_ratio":
            return (
                partial(random_ratio, seed=seed, ratio=1 - tested, within=cutting.stratify),
                partial(random_ratio, seed=seed + 1, ratio=1 - VALIDATED, within=cutting.stratify),
            )
        case "kfold":
            return (
                partial(kfold, seed=seed, fold=fold, n_folds=cutting.n_cuts),
                partial(random_ratio, seed=seed + 1, ratio=1 - VALIDATED),
            )
    n_held = cutting.held_users or max(1, int(HELD_SHARE * len(np.unique(rows.users))))
    options = {"test_share": tested, "above": cutting.threshold, "min_items": least or 5}
    return partial(strong_generalization, seed=seed, n_held=n_held, **options), None
