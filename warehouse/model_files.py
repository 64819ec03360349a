"""Item sides on disk: a folder a model, its arrays as `.npy` files to be memory-mapped, its constants as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from schemas.errors import ReleaseError
from warehouse.atomic import replacing, save_array

PARAMETERS = "parameters.json"


def save(folder: Path, arrays: Mapping[str, np.ndarray], parameters: Mapping[str, Any]) -> None:
    """Write a model's item side; the parameters come last, so a folder that has them is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PARAMETERS).unlink(missing_ok=True)
    for name, array in arrays.items():
        save_array(folder / f"{name}.npy", array)
    with replacing(folder / PARAMETERS) as temporary:
        temporary.write_text(json.dumps(parameters, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")


def exists(folder: Path) -> bool:
    return (folder / PARAMETERS).exists()


def load(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays, memory-mapped and read-only, and parameters. Raises ReleaseError if one cannot be read."""
    arrays, path = {}, folder / PARAMETERS
    try:
        parameters = json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("*.npy")):
            arrays[path.stem] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise ReleaseError(f"{path}: cannot be read ({error}); train the model again, or import a good copy of a sealed release") from None
    return arrays, parameters


def size_mib(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.iterdir()) / 2**20
