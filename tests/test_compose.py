"""docker-compose.yml: what can be said of it without an engine. `make compose-check` runs it.

The schema is ours: the part of the compose specification that the file uses, in the forms that both `docker compose` and
docker-compose 1.29 take.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import groupby
from pathlib import Path
from typing import Any

import jsonschema
import pyspark
import pytest
import yaml

from jobs.cli import parser
from schemas.settings import ENVIRONMENT_PREFIX, FIELDS, SECRETS

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
README = (ROOT / "dags" / "README.md").read_text()
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
LASTING = {name: service for name, service in SERVICES.items() if service.get("restart") != "no"}
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(:-|:\?)?([^}]*)\}")

_TEXT = {"type": "string", "minLength": 1}
_TIME = {"type": "string", "pattern": r"^\d+(ms|s|m|h)$"}
_MEMORY = {"type": "string", "pattern": r"^(\d+[kmg]|\$\{\w+:-\d+[kmg]\})$"}
_WORDS = {"type": "array", "items": {"type": "string"}, "minItems": 1}


def _optional(**properties: Any) -> dict[str, Any]:
    return {"type": ["null", "object"], "properties": properties, "additionalProperties": False}


SCHEMA = {
    "type": "object",
    "required": ["services", "volumes", "networks", "secrets"],
    "patternProperties": {"^x-": {}},
    "additionalProperties": False,
    "properties": {
        "volumes": {"type": "object", "additionalProperties": {"type": "null"}},
        "networks": {"type": "object", "additionalProperties": _optional(internal={"type": "boolean"})},
        "secrets": {"type": "object", "additionalProperties": {"type": "object", "properties": {"file": _TEXT}, "required": ["file"]}},
        "services": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["image", "mem_limit", "restart", "read_only", "cap_drop", "security_opt", "pids_limit", "tmpfs", "networks"],
                "additionalProperties": False,
                "properties": {
                    "image": _TEXT,
                    "build": {"const": {"context": ".", "args": {"PYTHON_IMAGE": "${PYTHON_IMAGE:-python:3.11-slim-bookworm}"}}},
                    "entrypoint": _WORDS,
                    "read_only": {"const": True},
                    "cap_drop": {"const": ["ALL"]},
                    "cap_add": _WORDS,
                    "security_opt": {"const": ["no-new-privileges:true"]},
                    "pids_limit": {"type": "integer", "minimum": 1},
                    "tmpfs": {"type": "array", "items": {"type": "string", "pattern": r"^/[\w/]+:(exec,)?mode=1777,size=\d+m$"}},
                    "secrets": _WORDS,
                    "networks": {"type": "object", "additionalProperties": _optional(aliases=_WORDS)},
                    "init": {"type": "boolean"},
                    "command": _WORDS,
                    "environment": {
                        "type": "object",
                        "propertyNames": {"pattern": "^[A-Z][A-Z0-9_]*$"},
                        "additionalProperties": {"type": "string"},
                    },
                    "ports": {"type": "array", "items": {"type": "string", "pattern": r"^127\.0\.0\.1:\$\{\w+:-\d+\}:\d+$"}},
                    "volumes": {"type": "array", "items": {"type": "string", "pattern": r"^([a-z]+:)?/[\w/.-]+$"}},
                    "mem_limit": _MEMORY,
                    "restart": {"enum": ["no", "unless-stopped"]},
                    "depends_on": {
                        "type": "object",
                        "additionalProperties": {
                            "type": "object",
                            "required": ["condition"],
                            "additionalProperties": False,
                            "properties": {"condition": {"enum": ["service_healthy", "service_completed_successfully"]}},
                        },
                    },
                    "healthcheck": {
                        "type": "object",
                        "required": ["test", "interval", "timeout", "retries"],
                        "additionalProperties": False,
                        "properties": {
                            "test": {"type": "array", "prefixItems": [{"const": "CMD"}], "items": _TEXT, "minItems": 2},
                            "interval": _TIME,
                            "timeout": _TIME,
                            "start_period": _TIME,
                            "retries": {"type": "integer", "minimum": 1},
                        },
                    },
                },
            },
        },
    },
}


def test_it_is_a_compose_file() -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(COMPOSE)


def test_two_images_make_every_service() -> None:
    assert len({service["image"] for service in SERVICES.values()}) == 2
    assert {service["image"] for service in SERVICES.values() if "build" not in service} == {"${POSTGRES_IMAGE:-postgres:15-bookworm}"}


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_names_is_declared(name: str) -> None:
    service = SERVICES[name]
    conditions = {"service_healthy": "healthcheck", "service_completed_successfully": "command"}
    for other, wanted in service.get("depends_on", {}).items():
        assert conditions[wanted["condition"]] in SERVICES[other]
    assert {volume.split(":")[0] for volume in service.get("volumes", ()) if ":" in volume} <= set(COMPOSE["volumes"])
    assert set(service["networks"]) <= set(COMPOSE["networks"]) and set(service.get("secrets", ())) <= set(COMPOSE["secrets"])
    hosts = {one or other for one, other in re.findall(r"(?:https?|spark)://([a-z-]+):|@([a-z-]+)/", str(service))}
    assert hosts <= set(SERVICES) and all(set(SERVICES[host]["networks"]) & set(service["networks"]) for host in hosts)


def test_the_server_shares_a_network_with_airflows_api_alone() -> None:
    beside = {name for name, service in SERVICES.items() if set(service["networks"]) & set(SERVICES["serving"]["networks"])}
    assert beside == {"serving", "airflow-api-server"}
    assert COMPOSE["networks"]["database"] == {"internal": True} and set(SERVICES["postgres"]["networks"]) == {"database"}


def test_what_grows_with_the_data_is_written_to_disk() -> None:
    """`/tmp` is memory there: a shuffle's or a sort's files would end the container."""
    for name, variable in (("spark-worker", "SPARK_LOCAL_DIRS"), ("airflow-scheduler", "TMPDIR")):
        assert SERVICES[name]["environment"][variable] in SERVICES[name]["volumes"]


def test_only_postgres_starts_with_capabilities() -> None:
    assert {name: service["cap_add"] for name, service in SERVICES.items() if "cap_add" in service} == {
        "postgres": ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"]
    }


def test_a_secret_is_a_file_that_only_who_needs_it_can_read() -> None:
    held = {name: set(service["secrets"]) for name, service in SERVICES.items() if "secrets" in service}
    parts = {name for name in SERVICES if name.startswith("airflow-")}
    assert set(held) == parts | {"postgres", "serving"} and held["serving"] == {"airflow_cinematch_password", "user_token_secret"}
    assert held["postgres"] == {"postgres_password"} and set().union(*held.values()) == set(COMPOSE["secrets"])
    assert all("admin" not in str(held[name]) for name in held if name != "airflow-init")
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD_|SECRET|CONN", name):
                assert name.endswith(("_FILE", "_CMD")) and "/run/secrets/" in value


def test_the_servers_user_of_airflow_may_start_and_read_runs_and_no_more(tmp_path: Path) -> None:
    """As the installed Airflow decides: the role below could not start one."""
    users = dict(
        user.split(":") for user in SERVICES["airflow-api-server"]["environment"]["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"].split(",")
    )
    assert users == {"admin": "admin", SERVICES["serving"]["environment"]["CINEMATCH_AIRFLOW_USER"]: "user"}
    ask = """
import json, sys
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
manager = SimpleAuthManager()
def may(role):
    user = SimpleAuthManagerUser(username="cinematch", role=role)
    entities = ("POST", DagAccessEntity.RUN), ("GET", DagAccessEntity.RUN), ("GET", DagAccessEntity.TASK_INSTANCE), ("GET", DagAccessEntity.XCOM)
    dag = {f"{method} {entity.value}": manager.is_authorized_dag(method=method, access_entity=entity, user=user) for method, entity in entities}
    others = "GET variable", "PUT variable", "GET connection", "PUT connection", "PUT pool", "PUT configuration"
    more = {one: getattr(manager, "is_authorized_" + one.split()[1])(method=one.split()[0], user=user) for one in others}
    return [dag, more]
print(json.dumps({role: may(role) for role in ("viewer", "user")}))
"""
    done = subprocess.run(
        [sys.executable, "-c", ask],
        env=os.environ | {"AIRFLOW_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert all(found["user"][0].values()) and not any(found["user"][1].values())
    assert not found["viewer"][0]["POST RUN"]


@pytest.mark.parametrize("name", LASTING)
def test_a_service_that_lasts_is_watched_and_comes_back(name: str) -> None:
    assert "healthcheck" in LASTING[name] and LASTING[name]["restart"] == "unless-stopped"


def test_a_service_that_can_be_scaled_claims_nothing_for_itself() -> None:
    assert not {"ports", "container_name", "hostname"} & set(SERVICES["spark-worker"])


def commands(service: dict[str, Any]) -> list[list[str]]:
    """The command lines of a service: its own, those in its shell text, that of its health check."""
    found = [service["healthcheck"]["test"][1:]] if "healthcheck" in service else []
    words = service.get("command", [])
    if words[:1] == ["bash"]:
        for line in words[-1].replace("$$", "$").splitlines():
            tokens = shlex.shlex(line, posix=True, punctuation_chars=";>")
            tokens.whitespace_split = True
            for is_word, group in groupby(tokens, lambda token: token not in (";", ">")):
                called = [token for token in group if token != "exec"]
                found += [called] if is_word and called[0] in ("airflow", "cinematch", "python") else []
    return [*found, words] if words else found


ALL = [words for name, service in SERVICES.items() if name != "postgres" for words in commands(service)]


def test_every_program_is_in_the_environment() -> None:
    """The shell is the base image's; whatever else is called is installed by our packages."""
    missing = {words[0] for words in ALL if words[0] != "bash" and not (BIN / words[0]).exists()}
    assert not missing and {words[0] for words in ALL} == {"bash", "airflow", "cinematch", "python", "spark-class"}


def test_airflow_and_cinematch_know_the_arguments(tmp_path: Path) -> None:
    asked = [[defaults(word) for word in words[1:]] for words in ALL if words[0] == "airflow"]
    read = "import json, sys; from airflow.cli.cli_parser import get_parser; [get_parser().parse_args(words) for words in json.loads(sys.argv[1])]"
    subprocess.run(
        [sys.executable, "-c", read, json.dumps(asked)], env=os.environ | {"AIRFLOW_HOME": str(tmp_path)}, check=True, timeout=120
    )
    for words in ALL:
        if words[0] == "cinematch":
            parser().parse_args(words[1:])


def test_the_classes_are_in_the_jars_of_spark() -> None:
    jar = next((Path(pyspark.__file__).parent / "jars").glob("spark-core_*.jar"))
    with zipfile.ZipFile(jar) as file:
        assert {words[1].replace(".", "/") + ".class" for words in ALL if words[0] == "spark-class"} <= set(file.namelist())


def test_the_python_of_the_health_checks_runs(tmp_path: Path) -> None:
    """Against a server that is there, and against one that is not."""
    (tmp_path / "answer").write_text("{}")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    programs = {words[2] for words in ALL if words[:2] == ["python", "-c"] and "urlopen(sys.argv[1]" in words[2]}
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for program in programs:
            for page, status in (("answer", 0), ("nothing", 1)):
                url = f"http://127.0.0.1:{server.server_port}/{page}"
                assert subprocess.run([sys.executable, "-c", program, url], capture_output=True, timeout=60).returncode == status
        server.shutdown()
    assert len(programs) == 1


def variables() -> dict[str, tuple[str, str]]:
    """Each variable that the file takes from outside: whether it has a default, and that, or what is said where it is missing."""
    return {name: (kind, text) for name, kind, text in VARIABLE.findall(TEXT)}


def defaults(word: str) -> str:
    """A word of the shell with the variables' defaults in it."""
    return re.sub(r"\$(\w+)", lambda found: variables().get(found[1], ("", found[0]))[1], word)


def test_no_secret_is_a_variable() -> None:
    assert {name for name in variables() if re.search("PASSWORD|SECRET", name)} == {"SECRETS_FOLDER"}
    assert all(kind == ":-" for kind, _ in variables().values())
    for name, secret in COMPOSE["secrets"].items():
        assert secret["file"] == f"${{SECRETS_FOLDER:-./secrets}}/{name}" and f" {name}" in README
    assert "secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_every_variable_is_in_the_readme_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| (.*?) \|", README, re.MULTILINE))
    expected = {name: f"`{text}`" if text else "" for name, (_, text) in variables().items()}
    assert {name: rows.get(name) for name in expected} == expected


def test_every_setting_that_it_names_is_one() -> None:
    given = {name for service in SERVICES.values() for name in service.get("environment", {}) if name.startswith(ENVIRONMENT_PREFIX)}
    known = {*FIELDS, *(f"{name}_file" for name in SECRETS), "settings"}
    assert given <= {ENVIRONMENT_PREFIX + name.upper() for name in known}


def test_the_image_has_what_is_locked_and_is_not_root() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert lines.count("ARG PYTHON_IMAGE=python:3.11-slim-bookworm") == lines.count("FROM ${PYTHON_IMAGE}") == 1
    assert [line for line in lines if line.startswith("USER")] == ["USER cinematch"]
    copied = {word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]}
    assert all((ROOT / name).exists() for name in copied)
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == copied
