"""Files that appear whole or not at all, also where a task that writes one is lost and runs again elsewhere."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to: at the end it becomes `path`, and where writing failed nothing is left of it.

    No other attempt has the same name, on whatever machine: process numbers repeat from one container to the next.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save_array(path: Path, array: np.ndarray) -> None:
    """One array as `.npy`."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, np.ascontiguousarray(array), allow_pickle=False)


def join_arrays(paths: Sequence[Path], path: Path) -> None:
    """Arrays in files, one after another, as one. Tasks on several machines write a file each and never parts of one: a
    network file system need not put pages together that two machines changed."""
    arrays = [np.load(one, mmap_mode="r", allow_pickle=False) for one in paths]
    shape = (sum(map(len, arrays)), *arrays[0].shape[1:])
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file,
            {"descr": np.lib.format.dtype_to_descr(arrays[0].dtype), "fortran_order": False, "shape": shape},
        )
        for array in arrays:
            array.tofile(file)
