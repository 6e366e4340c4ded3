package op

// Image is a base image: FROM, COPY --from=image, --mount=from=image.
type Image struct {
	// Ref is the reference with its digest, "docker.io/library/alpine:3.20@sha256:…".
	Ref      string
	Platform Platform
	// Layout names the OCI layout that the image comes from instead of a registry;
	// "" for a registry.
	Layout string
}
