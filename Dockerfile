# One image for every service of docker-compose.yml: driver, workers and server have the same Python, packages and code.
# PYTHON_IMAGE may name a digest: docker build --build-arg PYTHON_IMAGE=python:3.11-slim-bookworm@sha256:...
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
FROM ${PYTHON_IMAGE}

RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends openjdk-17-jre-headless libgomp1 procps >/dev/null \
 && rm -rf /var/lib/apt/lists/*

# Not root; the folders of the named volumes belong to it from the start.
RUN useradd --uid 10001 --create-home cinematch \
 && install -d -o cinematch -g cinematch /var/lib/cinematch /var/lib/airflow /var/lib/spark

# For a package index other than PyPI: docker build --build-arg PIP_INDEX_URL=...
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
COPY requirements-airflow.lock /tmp/
RUN python3 -m venv /opt/cinematch \
 && /opt/cinematch/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --require-hashes \
      -r /tmp/requirements-airflow.lock
ENV PATH=/opt/cinematch/bin:$PATH PYTHONUNBUFFERED=1

COPY pyproject.toml README.md LICENSE /src/
COPY cinematch /src/cinematch
COPY schemas /src/schemas
COPY warehouse /src/warehouse
COPY jobs /src/jobs
COPY serving /src/serving
RUN pip install --quiet --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation /src && rm -rf /src/build
COPY dags /opt/cinematch/dags

USER cinematch
WORKDIR /home/cinematch
