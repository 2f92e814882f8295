# Cloakwork and the certificates that it trusts, nothing else. It runs as nobody, and writes to /state alone:
#
#   docker run --rm --read-only -v "$PWD:/config:ro" -e KEYCLOAK_URL -e KEYCLOAK_USER -e KEYCLOAK_PASSWORD cloakwork plan
#
# A release is built from a digest, which its workflow finds out and writes down: --build-arg GO=golang:1.26-bookworm@sha256:…
ARG GO=golang:1.26-bookworm
FROM --platform=$BUILDPLATFORM $GO AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=devel
RUN make dist/cloakwork-$TARGETOS-$TARGETARCH VERSION=$VERSION && mv dist/cloakwork-$TARGETOS-$TARGETARCH cloakwork
RUN mkdir state

FROM scratch
ARG VERSION=devel
ARG REVISION=
LABEL org.opencontainers.image.title="cloakwork" \
      org.opencontainers.image.description="Keeps Keycloak as a git repository declares it" \
      org.opencontainers.image.source="https://github.com/cloakwork/cloakwork" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chown=65534:65534 /src/state /state
COPY --from=build /src/cloakwork /cloakwork
ENV CLOAKWORK_STATE_DIR=/state
USER 65534:65534
WORKDIR /config
ENTRYPOINT ["/cloakwork"]
