# The benchmark in a container, for CPU (default) or CUDA; docs/guide/containers.md says how it is used.
#   docker build -t wsss .
#   docker build -t wsss:cuda --build-arg DEVICE=cuda .
FROM debian:bookworm-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates git g++ python3-dev python3-venv
RUN python3 -m venv /opt/wsss
ARG DEVICE=cpu
# PyPI's torch for Linux brings CUDA's libraries with it: several GB that a CPU has no use for.
RUN case "$DEVICE" in \
      cpu) /opt/wsss/bin/pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu torch torchvision ;; \
      cuda) /opt/wsss/bin/pip install --no-cache-dir torch torchvision ;; \
      *) echo "DEVICE=$DEVICE: give cpu or cuda" >&2; exit 1 ;; \
    esac
# With .git, which the version comes from.
COPY . /src
RUN /opt/wsss/bin/pip install --no-cache-dir "/src[saliency,tensorboard]"

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates python3 && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/wsss /opt/wsss
# Any user may run it: results and caches go to the folder that is mounted at /work.
ENV PATH=/opt/wsss/bin:$PATH HOME=/work USER=wsss \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /work
ENTRYPOINT ["wsss"]
CMD ["--help"]
