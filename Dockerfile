# Longtake's one image: every service of docker-compose.yml is this, with another command. It has
# neither the simulator nor tests nor embedded servers; .dockerignore lists what it has.
ARG PYTHON=3.11
# `make pin-images` writes the base image's digest here; another PYTHON needs another one, or none.
ARG DIGEST=

FROM python:${PYTHON}-slim-bookworm${DIGEST} AS build
WORKDIR /app
COPY pyproject.toml requirements.lock ./
# uv first, by its own pin and hashes; then what pyproject.toml asks for, at the lock's versions. The
# development group is left out, and what has no matching hash is refused.
RUN sed -n '/^uv==/,/# via/p' requirements.lock > /tmp/uv.txt \
    && python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes -r /tmp/uv.txt \
    && uv venv /opt/venv --python "$(command -v python)" \
    && uv pip install --no-cache --python /opt/venv/bin/python --require-hashes \
        --compile-bytecode -r pyproject.toml -c requirements.lock
# Then ourselves: the `longtake` command and a path to /app, from a wheel made with a pinned builder.
RUN sed -n '/^hatchling==/,/# via/p' requirements.lock > /tmp/build.txt \
    && uv venv /opt/build --python "$(command -v python)" \
    && uv pip install --no-cache --python /opt/build/bin/python --require-hashes \
        -r /tmp/build.txt -c requirements.lock
COPY . .
RUN /opt/build/bin/python -m hatchling build -t wheel:editable -d /tmp/dist \
    && uv pip install --no-cache --python /opt/venv/bin/python --no-deps /tmp/dist/*.whl

FROM python:${PYTHON}-slim-bookworm${DIGEST}
RUN groupadd --gid 10001 longtake \
    && useradd --uid 10001 --gid longtake --no-create-home --shell /usr/sbin/nologin longtake \
    && install -d -o longtake -g longtake -m 0750 /data
COPY --from=build /opt/venv /opt/venv
COPY . /app
# PYTHONPATH: our root packages win over whatever a dependency may ship under the same names.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    LONGTAKE_DATA_DIR=/data
# Not /app: whatever lies in the current folder is importable to Celery.
WORKDIR /data
USER longtake
VOLUME /data
CMD ["longtake", "--help"]
