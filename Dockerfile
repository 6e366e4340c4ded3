# The image of slipway itself: one static binary and the certificates of public authorities.
#
#   docker build -t slipway .
#   slipway build -t registry.example.com/tools/slipway .

# The toolchain; any image with this version of Go, such as a mirror's.
ARG GO_IMAGE=docker.io/library/golang:1.26.8

FROM ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY cmd cmd
COPY pkg pkg
COPY results results
ARG VERSION=devel
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags="-s -w -X main.version=${VERSION}" -o /out/usr/local/bin/slipway ./cmd/slipway
# Public authorities, the default state directory, a place for temporary files, and the mark by which
# --isolation=inplace knows that this root filesystem is ours to work in.
RUN mkdir -p /out/etc/ssl/certs /out/slipway /out/tmp && chmod 1777 /out/slipway /out/tmp && \
    cp /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/ && touch /out/etc/slipway-image

FROM scratch
LABEL org.opencontainers.image.title="slipway" \
      org.opencontainers.image.description="Builds container images from Dockerfiles in an ordinary pod" \
      org.opencontainers.image.licenses="Apache-2.0"
# In one piece, so that each directory keeps its mode.
COPY --from=build /out/ /
ENV PATH=/usr/local/bin HOME=/tmp
ENTRYPOINT ["/usr/local/bin/slipway"]
