# The local server, from the wheel of this checkout:
#   make dist
#   docker build -t keras-multvae .
#   docker run --rm -p 127.0.0.1:8501:8501 \
#     -v "$PWD/saved_models/movielens:/models/movielens:ro" keras-multvae /models/movielens
FROM python:3.13-slim

ENV KERAS_BACKEND=tensorflow \
    KERAS_HOME=/tmp/keras \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# The wheel says which versions it works with, so that none are pinned here.
# hadolint ignore=DL3013
RUN --mount=type=bind,source=dist,target=/dist \
    wheel=$(ls /dist/keras_multvae-*.whl) && \
    pip install "${wheel}[serving,tensorflow-cpu]" && \
    useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin server

USER 10001
EXPOSE 8501

# The page's own request for name and version: an error until a version is loaded.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD \
    ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8501/api/model', timeout=4)"]

ENTRYPOINT ["keras-multvae", "serve", "--host", "0.0.0.0"]
CMD ["/models/model"]
