# Every Python image of the deployment. Build arguments pick the unit; targets pick its kind:
#   --target location --build-arg SERVICE=code_locations/ingestion --build-arg NAME=ingestion
#   --target service  --build-arg SERVICE=webserver --build-arg LIBRARIES="run_launcher access"
# The oldest supported builder is the one in Docker Engine 20.10: no heredocs, no COPY --link, and
# no syntax line, which would pull a frontend from a registry.
ARG BASE_IMAGE=debian:trixie-slim

FROM ${BASE_IMAGE} AS base
ARG DEBIAN_FRONTEND=noninteractive
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates python3 tini \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 dagster \
 && useradd --uid 10001 --gid 10001 --home-dir /tmp --no-create-home --shell /usr/sbin/nologin dagster

# The installer lives in a stage of its own, so that no image carries pip, uv or a compiler.
FROM base AS installer
RUN apt-get update && apt-get install --yes --no-install-recommends python3-venv && rm -rf /var/lib/apt/lists/*
COPY deploy/images/uv.lock /build/uv.lock
ARG PACKAGE_INDEX=
RUN python3 -m venv /opt/uv \
 && PIP_CERT=/etc/ssl/certs/ca-certificates.crt /opt/uv/bin/pip install --quiet --no-cache-dir --require-hashes \
    ${PACKAGE_INDEX:+--index-url "$PACKAGE_INDEX"} --requirement /build/uv.lock

# Only the lock file's content, not the unit's name, decides whether an environment is built again:
# units with the same lock share one.
FROM scratch AS lock
ARG SERVICE
COPY ${SERVICE}/requirements.lock /requirements.lock

# Packages of the distribution that one unit needs and others should not carry, as in SYSTEM_PACKAGES="r-base-core". Before
# the Python environment, which changes more often; units that name none share the same empty layer.
FROM base AS system
ARG DEBIAN_FRONTEND=noninteractive
ARG SYSTEM_PACKAGES=
RUN if [ -n "${SYSTEM_PACKAGES}" ]; then \
        apt-get update && apt-get install --yes --no-install-recommends ${SYSTEM_PACKAGES} && rm -rf /var/lib/apt/lists/*; \
    fi

FROM system AS environment
# UV_SYSTEM_CERTS: where outgoing TLS is inspected, only the host's trust store (in the base image) knows the issuer.
# UV_COMPILE_BYTECODE: without .pyc files each run pays about three seconds of processor time for its imports.
ARG UV_SYSTEM_CERTS=1
ARG UV_LINK_MODE=copy
ARG UV_COMPILE_BYTECODE=1
ARG UV_PYTHON_DOWNLOADS=never
ARG UV_HTTP_TIMEOUT=180
ARG PACKAGE_INDEX=
# A private index beside it (deploy/overlays/private-index.yml). Its password is a secret of this one step: neither in a
# layer nor in the image's history, where build arguments are.
ARG LIBRARY_INDEX=
ARG LIBRARY_INDEX_USER=
COPY libraries/index /build/index
COPY --from=lock /requirements.lock /build/requirements.lock
RUN --mount=type=bind,from=installer,source=/opt/uv,target=/opt/uv --mount=type=cache,target=/root/.cache/uv \
    --mount=type=secret,id=library_index_password \
    if [ -n "${LIBRARY_INDEX}" ] && [ -r /run/secrets/library_index_password ]; then \
        UV_INDEX_LIBRARIES_PASSWORD=$(cat /run/secrets/library_index_password) \
     && export UV_INDEX_LIBRARIES_PASSWORD UV_INDEX_LIBRARIES_USERNAME="${LIBRARY_INDEX_USER}" \
            UV_INDEX="libraries=${LIBRARY_INDEX}"; \
    fi \
 && /opt/uv/bin/uv venv --quiet --python /usr/bin/python3 /opt/venv \
 && if ! /opt/uv/bin/uv pip install --quiet --python /opt/venv --require-hashes --find-links /build/index \
        ${PACKAGE_INDEX:+--default-index "$PACKAGE_INDEX"} --requirement /build/requirements.lock; then \
        echo "The packages of requirements.lock could not be installed. LIBRARY_INDEX is '${LIBRARY_INDEX}': after a 401 or" \
            "403 from there, correct LIBRARY_INDEX_USER or secrets/library_index_password, and repeat." >&2; \
        exit 1; \
    fi \
 && rm -rf /build
COPY deploy/images/entrypoint /usr/local/bin/entrypoint
# What dagster.yaml names and every process of Dagster loads, those of code locations included; what waits for a run; what
# leaves out of a process that stays what it never uses; and what stands between a command and the container's log, so
# nothing that a container prints is stored as it is.
COPY libraries/lean_dagster/src libraries/pooled_storage/src libraries/redaction/src libraries/run_worker/src /opt/libraries/
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin PYTHONPATH=/app/src:/opt/libraries PYTHONUNBUFFERED=1 \
    HOME=/tmp DAGSTER_DISABLE_TELEMETRY=1
WORKDIR /app
# tini reaps what a run leaves behind and passes signals on; not every engine ships its own.
ENTRYPOINT ["/usr/bin/tini", "--", "/usr/local/bin/entrypoint"]

# A service that belongs to the deployment: its folder and the libraries it names.
FROM environment AS service
ARG SERVICE
ARG LIBRARIES=
ENV DAGSTER_HOME=/opt/dagster/home
COPY libraries /build/libraries
COPY ${SERVICE} /app
RUN mkdir -p /opt/dagster/home /opt/libraries /var/lib/dagster/audit /var/lib/dagster/logs/daemon \
 && chown -R 10001:10001 /opt/dagster /var/lib/dagster \
 && for library in ${LIBRARIES}; do cp -r "/build/libraries/$library/src/." /opt/libraries/; done \
 && rm -rf /build && python -m compileall -q /opt/libraries /app/src
USER 10001:10001

# A code location. The label and the gRPC port are the contract that an image built elsewhere meets as well.
FROM environment AS location
ARG SERVICE
ARG NAME
# The package in src/, where it cannot have the location's name.
ARG PACKAGE=${NAME}
# Libraries of the deployment, for the location that looks after it; no other needs one.
ARG LIBRARIES=
LABEL code-location=${NAME}
ENV CODE_LOCATION=${NAME} CODE_LOCATION_PACKAGE=${PACKAGE}
RUN --mount=type=bind,source=libraries,target=/build/libraries mkdir -p /opt/libraries \
 && for library in ${LIBRARIES}; do cp -r "/build/libraries/$library/src/." /opt/libraries/; done \
 && python -m compileall -q /opt/libraries
COPY ${SERVICE} /app
# DAGSTER_HOME stays unset: a code server and a run are told their instance by whoever calls them, and the root file
# system is read-only. A new volume takes owner and mode of the directory it covers: without these it would belong to root.
# A location that has something to prepare, as dbt its manifest, does so in <name>/build.py: no run pays for it again.
RUN mkdir -p /var/lib/lake/${NAME} /var/lib/dagster/logs /var/lib/location-logs \
 && chown -R 10001:10001 /var/lib/lake /var/lib/dagster /var/lib/location-logs \
 && python -m compileall -q /app/src \
 && if [ -f "/app/src/${PACKAGE}/build.py" ]; then python -m "${PACKAGE}.build"; fi
USER 10001:10001
EXPOSE 4000
COPY deploy/images/code-server /usr/local/bin/code-server
CMD ["code-server"]

# What a location's tests need on top, the same for all: its lock file alone decides whether it is installed again.
FROM installer AS test-tools
ARG UV_SYSTEM_CERTS=1
ARG UV_LINK_MODE=copy
ARG UV_HTTP_TIMEOUT=180
ARG PACKAGE_INDEX=
COPY tests/tools.lock /build/tools.lock
RUN --mount=type=cache,target=/root/.cache/uv \
    /opt/uv/bin/uv pip install --quiet --python /usr/bin/python3 --target /opt/test-tools --require-hashes --no-deps \
        ${PACKAGE_INDEX:+--default-index "$PACKAGE_INDEX"} --requirement /build/tools.lock

# The location's image, unchanged, with those behind its own packages: what its lock pins comes first, as in the image that
# is deployed. ./stack deploy runs the location's tests in it, and never deploys it.
FROM location AS tests
COPY --from=test-tools /opt/test-tools /opt/test-tools
USER 0:0
RUN echo /opt/test-tools > "$(python -c 'import site; print(site.getsitepackages()[0])')/test-tools.pth"
USER 10001:10001
