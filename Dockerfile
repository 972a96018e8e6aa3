# The server alone, with the bundled weights: docker build -t speechkit . (CPU), or with
# --build-arg TORCH_INDEX=default for a GPU; see compose.yaml.
ARG PYTHON=3.11
FROM python:${PYTHON}-slim AS build

# "cpu" takes torch without CUDA, about 1 GB instead of 5; "default" takes the index's own build.
ARG TORCH_INDEX=cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /venv
ENV PATH=/venv/bin:$PATH
WORKDIR /src
RUN if [ "$TORCH_INDEX" = cpu ]; then \
      pip install --index-url https://download.pytorch.org/whl/cpu torch; \
    fi
COPY pyproject.toml README.md LICENSE ./
COPY speechkit speechkit
RUN pip install '.[server]'

FROM python:${PYTHON}-slim
COPY --from=build /venv /venv
# No shell is needed, no root, and nothing is written but uploaded voices.
RUN useradd --system --uid 10001 --no-create-home speechkit \
 && install -d -o speechkit -g speechkit /voices
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1
USER speechkit
VOLUME /voices
EXPOSE 8000
HEALTHCHECK --start-period=60s --interval=30s --timeout=5s \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen(r.Request('http://127.0.0.1:8000/health'), timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["speechkit", "serve", "--host", "0.0.0.0", "--voices", "/voices"]
