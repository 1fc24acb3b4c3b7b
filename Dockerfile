# syntax=docker/dockerfile:1
# The image: one static executable on an empty file system.
#
#   docker build -t paddock .                                      for this machine
#   docker buildx build --platform linux/amd64,linux/arm64 .       cross-compiled, without emulation

ARG RUST_VERSION=1.95.0

# The web interface.
FROM --platform=$BUILDPLATFORM docker.io/library/node:24-bookworm-slim AS ui
WORKDIR /src/frontend
COPY frontend/package.json frontend/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY api/openapi.json /src/api/openapi.json
COPY frontend/ ./
RUN npm run build

# The tools of the build: the C compiler of the other platform beside that of this one. It builds
# aws-lc, SQLite and mimalloc.
FROM --platform=$BUILDPLATFORM docker.io/library/rust:${RUST_VERSION}-bookworm AS tools
ARG RUST_VERSION
# Without it, rust-toolchain.toml would install the components of developers.
ENV RUSTUP_TOOLCHAIN=$RUST_VERSION
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN case "$(dpkg --print-architecture)" in \
        amd64) other=(gcc-aarch64-linux-gnu g++-aarch64-linux-gnu libc6-dev-arm64-cross) ;; \
        *) other=(gcc-x86-64-linux-gnu g++-x86-64-linux-gnu libc6-dev-amd64-cross) ;; \
    esac \
    && apt-get update \
    && apt-get install --yes --no-install-recommends cmake "${other[@]}" \
    && rm -rf /var/lib/apt/lists/* \
    && rustup target add x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu \
    && cargo install --locked --version 0.1.78 cargo-chef
WORKDIR /src

# The dependencies as a list that changes only with them.
FROM tools AS recipe
COPY . .
RUN cargo chef prepare --bin paddock --recipe-path /recipe.json

FROM tools AS build
ARG TARGETARCH
# glibc 2.34 and later resolve names from /etc/hosts and DNS without shared objects, so a static
# executable needs nothing of the image.
ENV RUSTFLAGS="-C target-feature=+crt-static" \
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=x86_64-linux-gnu-gcc \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
    CC_x86_64_unknown_linux_gnu=x86_64-linux-gnu-gcc \
    CXX_x86_64_unknown_linux_gnu=x86_64-linux-gnu-g++ \
    CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc \
    CXX_aarch64_unknown_linux_gnu=aarch64-linux-gnu-g++
RUN case "$TARGETARCH" in \
        amd64) echo x86_64-unknown-linux-gnu ;; \
        arm64) echo aarch64-unknown-linux-gnu ;; \
        *) echo "no build for $TARGETARCH" >&2; exit 1 ;; \
    esac > /target
COPY --from=recipe /recipe.json /recipe.json
RUN cargo chef cook --locked --release --bin paddock --target "$(cat /target)" --recipe-path /recipe.json
COPY . .
COPY --from=ui /src/frontend/dist frontend/dist
RUN cargo build --locked --release --bin paddock --target "$(cat /target)" \
    && install -D --mode=0755 "target/$(cat /target)/release/paddock" /root-fs/paddock
# Any user of group 0 may write the data, as OpenShift runs it. A process without an entry in
# /etc/passwd works too.
RUN install -d --mode=0775 --owner=65532 --group=0 /root-fs/var/lib/paddock \
    && install -d --mode=1777 /root-fs/tmp \
    && install -D --mode=0644 /etc/ssl/certs/ca-certificates.crt /root-fs/etc/ssl/certs/ca-certificates.crt \
    && echo 'paddock:x:65532:65532:paddock:/var/lib/paddock:/paddock' > /root-fs/etc/passwd \
    && echo 'paddock:x:65532:' > /root-fs/etc/group

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED
LABEL org.opencontainers.image.title="Paddock" \
      org.opencontainers.image.description="Users, API keys, limits and audit in front of Ollama" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/paddock-dev/paddock" \
      org.opencontainers.image.documentation="https://github.com/paddock-dev/paddock/blob/main/docs/README.md" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED"
COPY --from=build /root-fs/ /
USER 65532:65532
WORKDIR /var/lib/paddock
EXPOSE 8080 9090
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["/paddock", "healthcheck"]
ENTRYPOINT ["/paddock"]
CMD ["run"]
