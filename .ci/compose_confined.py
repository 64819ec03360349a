"""Try inside a container of docker-compose.yml what it must not be able to do, as root where that is the stronger attempt."""

from __future__ import annotations

import json

from compose_engine import AIRFLOW, command, Failed, IMAGE, inside, inspected, logged_in, say, SECRETS, status_of

ADDED = {"postgres": {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"}}
# What a process sees of its own limits: the numbers are those of the kernel, in its order of capabilities.
CAPABILITIES = {"CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "SETGID": 6, "SETUID": 7}
THREADS = """
import sys, threading
threading.stack_size(64 << 10)
stop, started = threading.Event(), []
try:
    for _ in range(int(sys.argv[1])):
        started.append(threading.Thread(target=stop.wait, daemon=True))
        started[-1].start()
except RuntimeError:
    print(f"refused after {len(started) - 1}")
finally:
    stop.set()
"""
REACH = """
import socket, sys
for address in sys.argv[1:]:
    host, port = address.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=3).close()
        print(address, "reached")
    except OSError as error:
        print(address, type(error).__name__)
"""
MAY_READ = {
    **{name: {"postgres_password", "airflow_jwt_secret"} for name in AIRFLOW},
    "postgres": {"postgres_password"},
    "serving": {"airflow_cinematch_password", "user_token_secret"},
}


def confined(*services: str) -> None:
    """Try, as root in each container, what it must not be able to do."""
    for service in services:
        for path in ("/written", "/usr/bin/written", "/home/written", "/opt/written"):
            status, said = inside(service, "bash", "-c", f"echo x > {path}")
            if status == 0 or "Read-only file system" not in said:
                raise Failed(f"{service}: writing {path}: expected a read-only file system, got status {status}: {said}")
        limits = dict(line.split(":", 1) for line in inside(service, "cat", "/proc/self/status")[1].splitlines() if ":" in line)
        expected = sum(1 << CAPABILITIES[name] for name in ADDED.get(service, ()))
        if (
            any(int(limits[name], 16) & ~expected for name in ("CapBnd", "CapPrm", "CapEff", "CapAmb"))
            or limits["NoNewPrivs"].strip() != "1"
        ):
            raise Failed(f"{service}: expected capabilities {expected:x} and no new privileges, got {limits}")
        tried = {"mount": "mount -t tmpfs none /mnt", "make a device": "mknod /tmp/device b 8 0"}
        if service not in ADDED:
            tried["change an owner"] = "touch /tmp/owned && chown 10001 /tmp/owned"
            tried["listen to the network"] = "python -c 'import socket as s; s.socket(s.AF_INET, s.SOCK_RAW, 1)'"
        for what, text in tried.items():
            status, said = inside(service, "bash", "-c", text)
            if status == 0:
                raise Failed(f"{service}: root in the container could {what}: {said}")
        limit = inspected(service)["HostConfig"]["PidsLimit"]
        if not limit or limit > 4096:
            raise Failed(f"{service}: expected a limit of processes, got {limit}")
        if service not in ADDED:
            status, said = inside(service, "python", "-c", THREADS, str(limit), user="cinematch")
            if not said.startswith("refused after"):
                raise Failed(f"{service}: expected at most {limit} threads, got status {status}: {said}")
    say(f"confined, as root inside sees it: {', '.join(services)}")


def hidden(*services: str) -> None:
    """No secret is in what the engine tells of a container or an image, but in files of the containers that need it."""
    for service in services:
        told = json.dumps(inspected(service))
        shown = [name for name, secret in SECRETS.items() if secret in told]
        if shown:
            raise Failed(f"{service}: docker inspect shows {shown}")
        listed = set(inside(service, "bash", "-c", "ls /run/secrets 2> /dev/null || true")[1].split())
        if listed != MAY_READ.get(service, set()):
            raise Failed(f"{service}: expected the secrets {MAY_READ.get(service, set())}, got {listed}")
    for text in (command("docker", "image", "inspect", IMAGE), command("docker", "history", "--no-trunc", IMAGE)):
        if any(secret in text for secret in SECRETS.values()):
            raise Failed("the image has a secret")
    say("no secret is in docker inspect or the image, and each container has only its own")


def apart() -> None:
    """The server reaches Airflow's API, and neither PostgreSQL nor Spark, by name or by address."""

    def addresses(service: str, port: int) -> list[str]:
        networks = inspected(service)["NetworkSettings"]["Networks"].values()
        return [f"{service}:{port}", *(f"{network['IPAddress']}:{port}" for network in networks)]

    closed = addresses("postgres", 5432) + addresses("spark-master", 7077) + addresses("spark-worker", 8081)
    open_ = ["airflow-api-server:8080"]
    from_serving = inside("serving", "python", "-c", REACH, *closed, *open_)[1].splitlines()
    reached = [line.split()[0] for line in from_serving if line.endswith("reached")]
    if reached != open_ or len(from_serving) != len(closed) + 1:
        raise Failed(f"from serving: expected to reach {open_} alone, got {from_serving}")
    needed = ["postgres:5432", "spark-master:7077", *open_]
    from_scheduler = inside("airflow-scheduler", "python", "-c", REACH, *needed)[1].splitlines()
    if from_scheduler != [f"{address} reached" for address in needed]:
        raise Failed(f"from the scheduler: expected to reach {needed}, got {from_scheduler}")
    outside = inside("postgres", "bash", "-c", "timeout 3 bash -c 'exec 3<>/dev/tcp/1.1.1.1/443'")
    if outside[0] == 0:
        raise Failed("PostgreSQL reaches what is outside")
    say(f"serving reaches {', '.join(open_)}; not {', '.join(line for line in from_serving if not line.endswith('reached'))}")


def lesser(airflow: str, token: str) -> None:
    """The server's user of Airflow may change no variable, pool, connection, and see none of what they hold."""
    admin = logged_in(airflow, "admin")
    changes = {
        "variables": {"key": "tried", "value": "x"},
        "pools": {"name": "tried", "slots": 1},
        "connections": {"connection_id": "tried", "conn_type": "http"},
    }
    refused = []
    for what, body in changes.items():
        for method, path, sent in (("POST", what, body), ("GET", what, None), ("DELETE", f"{what}/{next(iter(body.values()))}", None)):
            if (method, what) != ("GET", "pools"):  # how many slots are free is for all to read
                refused.append(f"{method} {what} {status_of(f'{airflow}/api/v2/{path}', sent, token=token, method=method)}")
        if (got := status_of(f"{airflow}/api/v2/{what}", body, token=admin, method="POST")) != 201:
            raise Failed(f"admin makes one of {what}: expected 201, got {got}")
    refused.append(
        f"PATCH pools {status_of(f'{airflow}/api/v2/pools/training', {'name': 'training', 'slots': 99}, token=token, method='PATCH')}"
    )
    if any(not one.endswith(" 403") for one in refused):
        raise Failed(f"the server's user: expected 403 each, got {refused}")
    say(f"the server's user of Airflow is refused {len(refused)} ways to variables, pools and connections, which admin has")
