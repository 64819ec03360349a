"""The direction of the imports: what each folder may know of the others, read from the code itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = {"cinematch", "schemas", "warehouse", "jobs", "serving", "dags", "tests"}

# Folder, innermost first: what it may import of ours (prefixes), and of others besides the standard library.
ALLOWED: dict[str, tuple[tuple[str, ...], set[str]]] = {
    "jobs/kernels": (("jobs.kernels",), {"numpy", "scipy", "implicit"}),
    "schemas": (("schemas",), {"pyarrow"}),
    "warehouse": (("schemas", "warehouse"), {"adbc_driver_sqlite", "cryptography", "duckdb", "numpy", "pyarrow", "sqlite_utils", "yaml"}),
    "jobs": (
        ("schemas", "warehouse", "jobs"),
        {"duckdb", "pyspark", "pandas", "sklearn", "implicit", "numpy", "scipy", "pyarrow", "psutil", "sqlalchemy", "torch", "tqdm"},
    ),
    "serving": (
        ("schemas", "warehouse", "jobs.kernels", "serving"),
        {"datasette", "httptools", "isal", "jinja2", "markupsafe", "numpy", "uvicorn"},
    ),
    "cinematch": (("schemas", "warehouse", "jobs.kernels", "jobs.staging.item_side"), {"duckdb", "numpy", "pyarrow"}),
    "dags": ((), {"airflow"}),
}

# A server answers by the kernels of lists; it neither trains nor measures.
NOT_ALLOWED = dict.fromkeys(("serving", "cinematch"), ("jobs.kernels.training", "jobs.kernels.evaluation"))

# What does harm where it is imported only sometimes is named too: these never load with a kernel.
HEAVY = ("pyspark", "pandas", "sklearn", "airflow", "datasette", "pyarrow")


def folder_of(path: Path) -> str:
    relative = path.relative_to(ROOT).as_posix()
    return next(folder for folder in ALLOWED if relative.startswith(f"{folder}/"))


def modules() -> list[Path]:
    return sorted(path for top in {folder.split("/")[0] for folder in ALLOWED} for path in (ROOT / top).rglob("*.py"))


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted module) of each import of a module, wherever it stands; a name imported from a package of ours may
    itself be a module, so it counts with its full name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import hides its direction"
            if node.module.split(".")[0] in OURS:
                yield from ((node.lineno, f"{node.module}.{name.name}") for name in node.names)
            else:
                yield node.lineno, node.module


def is_allowed(module: str, folder: str) -> bool:
    ours, others = ALLOWED[folder]
    top = module.split(".")[0]
    if top in OURS:
        is_barred = any(f"{module}.".startswith(f"{prefix}.") for prefix in NOT_ALLOWED.get(folder, ()))
        return not is_barred and any(f"{module}.".startswith(f"{prefix}.") for prefix in ours)
    return top in sys.stdlib_module_names or top in others


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_imports_only_what_its_folder_may(path: Path) -> None:
    folder = folder_of(path)
    wrong = [f"{path.relative_to(ROOT)}:{line} imports {module}" for line, module in imported(path) if not is_allowed(module, folder)]
    assert not wrong, wrong


def test_the_table_itself_refuses_what_it_should() -> None:
    assert not is_allowed("pyspark.sql", "serving") and not is_allowed("jobs.run", "serving")
    assert not is_allowed("warehouse.parquet", "jobs/kernels") and not is_allowed("jobs.kernelsmith", "serving")
    assert not is_allowed("jobs.train.step", "dags") and not is_allowed("serving.plugin", "jobs")
    assert not is_allowed("jobs.kernels.training.ease", "serving") and not is_allowed("jobs.kernels.evaluation", "serving")
    assert is_allowed("jobs.kernels.lists", "serving") and is_allowed("json", "dags")


@pytest.mark.parametrize("name", ["jobs/__init__.py", "jobs/kernels/__init__.py"])
def test_packages_above_the_kernels_are_empty(name: str) -> None:
    assert (ROOT / name).read_bytes() == b""


def loaded(statement: str) -> set[str]:
    """Top-level modules in memory after a statement, in a fresh process."""
    code = f"{statement}; import sys; print(' '.join({{name.split('.')[0] for name in sys.modules}}))"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


def test_importing_the_kernels_imports_nothing_heavy() -> None:
    names = [f"jobs.kernels.{path.stem}" for path in sorted((ROOT / "jobs/kernels").glob("*.py")) if path.stem != "__init__"]
    assert not loaded(f"import {', '.join(names)}") & set(HEAVY)


def test_kernels_touch_no_file_clock_environment_or_log() -> None:
    for path in sorted((ROOT / "jobs/kernels").glob("*.py")):
        found = {module.split(".")[0] for _, module in imported(path)} & {
            "os",
            "io",
            "pathlib",
            "time",
            "datetime",
            "logging",
            "random",
            "sys",
        }
        assert not found, f"{path.name} imports {found}"
        calls = {
            node.func.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not calls & {"open", "print", "input"}, path.name


def test_opening_a_release_from_python_loads_neither_spark_nor_a_server() -> None:
    assert not loaded("import cinematch") & {"pyspark", "pandas", "sklearn", "datasette", "uvicorn"}


def test_the_command_line_starts_without_spark() -> None:
    assert not loaded("import jobs.cli; jobs.cli.parser()") & {"pyspark", "pandas", "sklearn", "sqlite_utils"}


def test_every_module_says_what_it_is_in_its_first_line() -> None:
    for path in modules():
        text = path.read_text(encoding="utf-8")
        if path.name != "__init__.py" or text:
            assert ast.get_docstring(ast.parse(text)), f"{path.relative_to(ROOT)} has no docstring"
