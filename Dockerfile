# The images of slipway itself: one static binary, certificates of public authorities, and in the flavour "debug" a shell.
#
#   docker build -t slipway .
#   slipway build --platform linux/amd64,linux/arm64 -t registry.example.com/tools/slipway .
#   slipway build --target debug -t registry.example.com/tools/slipway:debug .
#   make image    # from the Go and the busybox of this machine, without a registry

# Any images with this version of Go, and with a static busybox, such as a mirror's.
ARG GO_IMAGE=docker.io/library/golang:1.26.8
ARG BUSYBOX_IMAGE=docker.io/library/busybox:1.37-musl

FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS toolchain

FROM ${BUSYBOX_IMAGE} AS busybox

FROM toolchain AS build
WORKDIR /src
ENV PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin GOPATH=/go GOCACHE=/var/cache/go-build GOTOOLCHAIN=local CGO_ENABLED=0
ARG GOPROXY=https://proxy.golang.org,direct
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY cmd cmd
COPY internal internal
COPY pkg pkg
COPY results results
ARG VERSION=devel TARGETOS TARGETARCH
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/var/cache/go-build \
    GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false -ldflags="-s -w -X main.version=${VERSION}" -o /out/slipway ./cmd/slipway

# Everything but the binary is the same for all platforms. The file slipway-image is the mark by which --isolation=inplace
# knows that this root filesystem is ours to work in. Whoever runs in the image may write to the directories for state, logins and certificates.
FROM toolchain AS rootfs
RUN set -eu && mkdir -p /out && cd /out && \
    mkdir -p etc/ssl/certs kaniko/.docker kaniko/ssl/certs slipway tmp usr/local/bin workspace && \
    chmod 1777 kaniko/.docker kaniko/ssl/certs slipway tmp workspace && \
    cp /etc/ssl/certs/ca-certificates.crt etc/ssl/certs/ && chmod 644 etc/ssl/certs/ca-certificates.crt && \
    ln -s ../../../etc/ssl/certs/ca-certificates.crt kaniko/ssl/certs/ && \
    ln -s ../usr/local/bin/slipway kaniko/executor && ln -s ../usr/local/bin/slipway kaniko/warmer && \
    echo 'root:x:0:0:root:/tmp:/busybox/sh' >etc/passwd && echo 'slipway:x:1000:1000:slipway:/tmp:/busybox/sh' >>etc/passwd && \
    echo 'root:x:0:' >etc/group && echo 'slipway:x:1000:' >>etc/group && \
    touch etc/slipway-image

FROM scratch AS slipway
LABEL org.opencontainers.image.title="slipway" \
      org.opencontainers.image.description="Builds container images from Dockerfiles in an ordinary pod" \
      org.opencontainers.image.licenses="Apache-2.0"
# In one piece, so that each directory keeps its mode.
COPY --from=rootfs /out/ /
COPY --from=build /out/slipway /usr/local/bin/slipway
ENV PATH=/usr/local/bin:/kaniko:/busybox HOME=/tmp SSL_CERT_DIR=/kaniko/ssl/certs
WORKDIR /workspace
ENTRYPOINT ["/usr/local/bin/slipway"]

FROM slipway AS debug
COPY --from=busybox /bin/ /busybox/

FROM slipway
