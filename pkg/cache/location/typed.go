package location

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/pkg/cache"
	"github.com/slipway-build/slipway/pkg/cache/bucket"
)

// attributes are those of "type=…,name=value,…" (Docker's documentation of buildx, "Cache storage backends").
type attributes map[string]string

// parse reads attributes. The values are not quoted in errors: they may be secret.
func parse(spec string) (attributes, error) {
	fields, err := csv.NewReader(strings.NewReader(spec)).Read()
	if err != nil {
		return nil, errors.New("the attributes are no list of name=value, separated by commas")
	}
	a := attributes{}
	for _, f := range fields {
		name, value, ok := strings.Cut(f, "=")
		if name = strings.ToLower(strings.TrimSpace(name)); !ok || name == "" {
			return nil, fmt.Errorf("attribute %q has no value", name)
		}
		if _, twice := a[name]; twice {
			return nil, fmt.Errorf("attribute %q is given twice", name)
		}
		a[name] = value
	}
	return a, nil
}

// take removes the attribute and returns its value.
func (a attributes) take(name string) string {
	v := a[name]
	delete(a, name)
	return v
}

// need is take for an attribute that must be there.
func (a attributes) need(name string) (string, error) {
	if v := a.take(name); v != "" {
		return v, nil
	}
	return "", fmt.Errorf("attribute %q is missing", name)
}

// refused are attributes that Slipway has no use for, with what to do instead.
func refused() map[string]string {
	inEnv := "credentials are not given in arguments, which everybody on the machine can read: use the environment"
	prefix := `the layout is fixed: use "prefix"`
	return map[string]string{
		"access_key_id": inEnv, "secret_access_key": inEnv, "session_token": inEnv, "token": inEnv, "ghtoken": inEnv,
		"manifests_prefix": prefix, "blobs_prefix": prefix,
		"registry.insecure": "use --insecure-registry",
	}
}

// harmless are attributes of BuildKit that only say how it writes its own format, or what Slipway does anyway: it
// keeps the results of all steps, and a cache that fails never fails a build.
func harmless() []string {
	return []string{
		"mode", "image-manifest", "oci-mediatypes", "ignore-error", "compression", "compression-level",
		"force-compression", "name", "touch_refresh", "upload_parallelism",
	}
}

// end complains about attributes that are left.
func (a attributes) end() error {
	for _, name := range slices.Sorted(maps.Keys(a)) {
		if why, ok := refused()[name]; ok {
			return fmt.Errorf("attribute %q: %s", name, why)
		}
		if !slices.Contains(harmless(), name) {
			return fmt.Errorf("attribute %q is unknown", name)
		}
	}
	return nil
}

func openTyped(ctx context.Context, spec string, o Options) (cache.Store, error) {
	a, err := parse(spec)
	if err != nil {
		return nil, err
	}
	kind := a.take("type")
	s, err := openType(ctx, kind, a, o)
	if err != nil {
		return nil, fmt.Errorf("type=%s: %w", kind, err)
	}
	return s, nil
}

func openType(ctx context.Context, kind string, a attributes, o Options) (cache.Store, error) {
	switch kind {
	case "registry":
		ref, err := a.need("ref")
		if err := errors.Join(err, a.end()); err != nil {
			return nil, err
		}
		return openRepository(ctx, ref, o)
	case "local":
		dir, err := a.directory()
		if err := errors.Join(err, a.end()); err != nil {
			return nil, err
		}
		return openDirectory(ctx, dir, o)
	case "s3", "gcs", "gs", "azblob":
		u, err := a.bucket(kind)
		if err := errors.Join(err, a.end()); err != nil {
			return nil, err
		}
		return store(bucket.Open(ctx, u))
	case "inline":
		return nil, errors.New("there is no cache inside images: an image's layers do not say what their steps read; use type=registry")
	case "gha":
		return nil, errors.New("the cache service of GitHub Actions is not supported: use a registry such as ghcr.io, or actions/cache around type=local")
	}
	return nil, errors.New("the type is none of registry, local, s3, gcs, azblob")
}

// directory is where type=local lies, called by one name for reading and another one for writing.
func (a attributes) directory() (string, error) {
	src, dest := a.take("src"), a.take("dest")
	if (src == "") == (dest == "") {
		return "", errors.New(`one of the attributes "src" and "dest" is needed`)
	}
	return src + dest, nil
}

// bucket is the URL that the attributes of a bucket stand for.
func (a attributes) bucket(kind string) (*url.URL, error) {
	u := &url.URL{Scheme: kind, Path: "/" + strings.Trim(a.take("prefix"), "/")}
	q := url.Values{}
	option := func(attribute, name string) {
		if v := a.take(attribute); v != "" {
			q.Set(name, v)
		}
	}
	var err error
	switch kind {
	case "s3":
		if u.Host = a.take("bucket"); u.Host == "" {
			u.Host = os.Getenv("AWS_BUCKET") // as BuildKit does
		}
		option("region", "region")
		option("endpoint_url", "endpoint")
		option("use_path_style", "use_path_style")
	case "azblob":
		if u.Host = a.take("container"); u.Host == "" {
			u.Host = "buildkit-cache" // BuildKit's default
		}
		option("account_url", "account_url")
		option("account_name", "storage_account")
	default:
		u.Scheme = "gs"
		u.Host, err = a.need("bucket")
	}
	if err == nil && u.Host == "" {
		err = errors.New(`attribute "bucket" is missing`)
	}
	u.RawQuery = q.Encode()
	return u, err
}
