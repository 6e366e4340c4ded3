package main

import (
	"time"

	"github.com/urfave/cli/v2"

	"github.com/slipway-build/slipway/pkg/policy"
)

// buildFlags lists the flags of "slipway build". Where Docker and Kaniko have different names for a
// thing, both work.
func buildFlags() []cli.Flag {
	return withLists(dockerfileFlags(), inputFlags(), outputFlags(), attestFlags(), signFlags(), cacheFlags(), runFlags(), registryFlags(), pullFlags(), pushFlags(), resultFlags(), dockerResultFlags(), displayFlags(), kanikoFlags())
}

// withLists adds the flags for lists to the others.
func withLists(groups ...[]cli.Flag) []cli.Flag {
	all := concat(groups...)
	return append(all, listHelp(all)...)
}

func concat(groups ...[]cli.Flag) []cli.Flag {
	var all []cli.Flag
	for _, g := range groups {
		all = append(all, g...)
	}
	return all
}

// dockerfileFlags say which Dockerfile is meant, and what it is evaluated with.
func dockerfileFlags() []cli.Flag {
	const category = "What is built"
	return append([]cli.Flag{
		&cli.StringFlag{Category: category, Name: "file", Aliases: []string{"f", "dockerfile"}, Usage: "path of the Dockerfile, relative to the working directory, else to the context; - for standard input (default: CONTEXT/Dockerfile)"},
		&cli.StringFlag{Category: category, Name: contextFlag, Aliases: []string{"c"}, Usage: "the build context, if it is not given as argument: a directory, a git repository, a URL, tar://FILE, s3://, gs:// or azblob://BUCKET/OBJECT, or - for standard input; of several the last one counts"},
		&cli.StringFlag{Category: category, Name: contextDefaultFlag, Hidden: true, Value: "."},
		&cli.StringFlag{Category: category, Name: "context-sub-path", Usage: "`DIR` below the context that is the build context instead"},
		&cli.StringSliceFlag{Category: category, Name: gitFlag, Usage: "`NAME=VALUE` for a context git://HOST/PATH: branch, recurse-submodules or insecure-skip-tls"},
		&cli.StringSliceFlag{Category: category, Name: "build-arg", Usage: "value of an ARG: `NAME=VALUE`, or NAME to take it from the environment"},
		&cli.StringSliceFlag{Category: category, Name: "build-context", Usage: "additional context: `NAME=VALUE`, where VALUE is a directory, docker-image://REF, oci-layout://DIR, a git repository or a URL"},
		&cli.StringSliceFlag{Category: category, Name: "target", Usage: "`STAGE` to build instead of the last one; further ones are built as well, and go nowhere"},
		&cli.StringFlag{Category: category, Name: "source-policy-file", EnvVars: []string{"EXPERIMENTAL_BUILDKIT_SOURCE_POLICY"}, Usage: "`FILE` with rules that allow, deny or replace images, URLs, repositories and contexts, as BuildKit has them"},
		&cli.StringFlag{Category: category, Name: "source-policy-dir", Usage: "`DIR` of --source-policy-file, as a mounted ConfigMap; the file is policy.json there unless it is given, and an empty one is none"},
		&cli.BoolFlag{Category: category, Name: "hermetic", Usage: "give RUN no network, and refuse images, URLs and repositories that are not pinned by digest, checksum or commit"},
		&cli.StringSliceFlag{Category: category, Name: "platform", Aliases: []string{"custom-platform", "customPlatform"}, Usage: "`OS/ARCH[/VARIANT]` to build for; several make an image index"},
	}, policyFlags(category)...)
}

// policyFlags say which images may be used.
func policyFlags(category string) []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Category: category, Name: "policy", Usage: "`FILE` that says which images may be used, and by whom they must be signed, as podman's policy.json does"},
		&cli.StringFlag{Category: category, Name: "policy-dir", Usage: "`DIR` of --policy, as a mounted ConfigMap; the file is policy.json there unless it is given, and an empty one is none"},
		&cli.StringFlag{Category: category, Name: "policy-mode", Value: string(policy.Enforce), Usage: "what happens to images that --policy denies: enforce, an error, or warn"},
	}
}

func inputFlags() []cli.Flag {
	const category = "What is built"
	return []cli.Flag{
		&cli.StringSliceFlag{Category: category, Name: "label", Usage: "`KEY=VALUE` to add to the image config"},
		&cli.StringSliceFlag{Category: category, Name: "annotation", Usage: "`KEY=VALUE` to add to the manifest; \"index:KEY=VALUE\" and the like say where"},
		&cli.StringFlag{Category: category, Name: "source-date-epoch", EnvVars: []string{"SOURCE_DATE_EPOCH"}, Usage: "`SECONDS` since 1970 that no time in the image exceeds, which makes builds reproducible"},
		&cli.BoolFlag{Category: category, Name: "pull", Usage: "accepted for Docker's sake: references are always resolved anew"},
		&cli.BoolFlag{Category: category, Name: "check", Usage: "check the Dockerfile, build nothing"},
	}
}

func outputFlags() []cli.Flag {
	const category = "Where it goes"
	return []cli.Flag{
		tagFlag(category, "`REFERENCE` to push the image to"),
		&cli.BoolFlag{Category: category, Name: "push", Usage: "push to the tags although there is an --output; without one, tags are pushed anyway"},
		&cli.BoolFlag{Category: category, Name: "no-push", EnvVars: []string{"KANIKO_NO_PUSH"}, Usage: "push nothing"},
		&cli.StringSliceFlag{Category: category, Name: "output", Aliases: []string{"o"}, Usage: "`TYPE=…,DEST=…`: registry, oci, docker, tar or local, as docker buildx has them"},
		&cli.BoolFlag{Category: category, Name: "skip-push-permission-check", Usage: "do not ask registries beforehand whether the image may be pushed"},
		&cli.StringFlag{Category: category, Name: "tar-path", Aliases: []string{"tarPath"}, Usage: "write an archive for docker load to `FILE`"},
		&cli.StringFlag{Category: category, Name: "oci-layout-path", Usage: "write an OCI layout to `DIR`"},
		&cli.StringFlag{Category: category, Name: "compression", Value: "gzip", Usage: "of new layers: gzip, zstd or none"},
		&cli.IntFlag{Category: category, Name: "compression-level", Usage: "1 to 9 for gzip, 1 to 22 for zstd (default: the algorithm's)"},
	}
}

// cacheFlags say where results are kept between builds.
func cacheFlags() []cli.Flag {
	const category = "Cache"
	return []cli.Flag{
		&cli.BoolFlag{Category: category, Name: "cache", Usage: "take results from --cache-repo and keep them there"},
		&cli.StringFlag{Category: category, Name: "cache-repo", Usage: "`STORE` of --cache (default: the repository of the first --tag with /cache appended; without a tag, a directory below --state-dir)"},
		&cli.StringSliceFlag{Category: category, Name: "cache-from", Usage: "`STORE` to take results from: a repository, a directory or a bucket (s3://, gs://, azblob://)"},
		&cli.StringSliceFlag{Category: category, Name: "cache-to", Usage: "`STORE` to keep results in"},
		&cli.DurationFlag{Category: category, Name: "cache-ttl", Value: defaultCacheTTL, Usage: "`AGE` at which results are not used any more; 0 for never"},
		&cli.BoolFlag{Category: category, Name: "cache-copy-layers", Value: true, Usage: "keep results of COPY and ADD, too"},
		&cli.BoolFlag{Category: category, Name: "cache-run-layers", Value: true, Usage: "keep results of RUN and WORKDIR"},
		&cli.BoolFlag{Category: category, Name: "no-push-cache", Usage: "take results, keep none"},
		&cli.DurationFlag{Category: category, Name: "cache-write-timeout", Value: 10 * time.Minute, Usage: "how long to wait at the end for what is being written; 0 for any time"},
		&cli.StringSliceFlag{Category: category, Name: "cache-mounts", Usage: "keep the directories of RUN --mount=type=cache in the cache: `[ID=]MODE` of off, restore, save or both (default: off)"},
		&cli.StringFlag{Category: category, Name: "cache-mount-max-size", Usage: "`SIZE`, as 2g, at which the directory of a cache mount starts over (default: any size)"},
		cloudCredentialsFlag(category),
		cacheDirFlag(category),
		&cli.BoolFlag{Category: category, Name: "no-cache", Usage: "take no results; new ones are kept"},
		&cli.StringSliceFlag{Category: category, Name: "no-cache-filter", Usage: "take no results for `STAGE`"},
	}
}

func tagFlag(category, usage string) cli.Flag {
	return &cli.StringSliceFlag{Category: category, Name: "tag", Aliases: []string{"t", "destination", "d"}, Usage: usage}
}

func stateDirFlag(category string) cli.Flag {
	return &cli.StringFlag{Category: category, Name: "state-dir", EnvVars: []string{"SLIPWAY_STATE_DIR"}, Usage: "`DIR` for everything that is kept during and between builds (default: /slipway, else in the user's cache directory)"}
}

// credentialFlags are for RUN, and for contexts and sources that are elsewhere.
func credentialFlags(category string) []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Category: category, Name: "secret", Usage: "`id=ID[,src=FILE|,env=VAR]` for RUN --mount=type=secret, and for URLs and git repositories"},
		&cli.StringFlag{Category: category, Name: "secrets-dir", Usage: "`DIR` of files that are secrets by their names, as a mounted Kubernetes Secret has them"},
		&cli.StringSliceFlag{Category: category, Name: "ssh", Usage: "`ID[=SOCKET|=KEY[,KEY]]` of an agent, or of private keys, for RUN --mount=type=ssh and git repositories"},
		&cli.StringFlag{Category: category, Name: "ssh-dir", Usage: "`DIR` of private keys that are the agent default, as a mounted Kubernetes Secret has them"},
	}
}

func runFlags() []cli.Flag {
	const category = "How RUN runs"
	return concat(credentialFlags(category), []cli.Flag{
		&cli.StringFlag{Category: category, Name: "isolation", Value: "auto", EnvVars: []string{"SLIPWAY_ISOLATION"}, Usage: "auto, namespace, inplace or sandbox"},
		&cli.BoolFlag{Category: category, Name: "cleanup", EnvVars: []string{"KANIKO_CLEANUP"}, Usage: "with isolation inplace, remove unpacked files at the end, for a container that goes on with something else"},
		stateDirFlag(category),
		&cli.StringSliceFlag{Category: category, Name: "allow", Usage: "let the Dockerfile ask for `WHAT`: security.insecure or network.host"},
		&cli.StringSliceFlag{Category: category, Name: "add-host", Usage: "`NAME:IP` for /etc/hosts"},
		&cli.StringFlag{Category: category, Name: "network", Usage: "of RUN: default, none or host"},
		&cli.StringFlag{Category: category, Name: "shm-size", Usage: "`SIZE` of /dev/shm, as 128m"},
		&cli.StringSliceFlag{Category: category, Name: "ulimit", Usage: "`NAME=SOFT[:HARD]`"},
		&cli.StringFlag{Category: category, Name: "cgroup-parent", Usage: "`CGROUP` for RUN, where cgroups are writable, as for the limits below"},
		&cli.StringFlag{Category: category, Name: "memory", Aliases: []string{"m"}, Usage: "`SIZE` of memory that a RUN may use, as 2g"},
		&cli.StringFlag{Category: category, Name: "memory-swap", Usage: "`SIZE` of memory and swap together; -1 for any swap"},
		&cli.Uint64Flag{Category: category, Name: "cpu-shares", Usage: "relative weight `N` of a RUN; 1024 is usual"},
		&cli.Uint64Flag{Category: category, Name: "cpu-period", Usage: "`MICROSECONDS` to which --cpu-quota refers (default: 100000)"},
		&cli.Int64Flag{Category: category, Name: "cpu-quota", Usage: "`MICROSECONDS` of processor time in each period"},
		&cli.StringFlag{Category: category, Name: "cpuset-cpus", Usage: "`LIST` of processors for RUN, as 0-3,5"},
		&cli.StringFlag{Category: category, Name: "cpuset-mems", Usage: "`LIST` of memory nodes for RUN"},
	})
}

func registryFlags() []cli.Flag {
	const category = "Registries"
	return []cli.Flag{
		&cli.StringFlag{Category: category, Name: "docker-config", Usage: "`PATH` of a config.json, .dockerconfigjson or .dockercfg with logins, or of its directory; it comes before the usual places"},
		&cli.StringSliceFlag{Category: category, Name: helpersFlag, Usage: "built-in `HELPER` to ask for logins: env, google, ecr, acr, gitlab or github (default: all); \"\" for none"},
		&cli.BoolFlag{Category: category, Name: "tls-verify", Value: true, Usage: "verify registries' certificates, and insist on TLS"},
		&cli.BoolFlag{Category: category, Name: "insecure", Usage: "push by plain HTTP"},
		&cli.BoolFlag{Category: category, Name: "insecure-pull", Usage: "pull by plain HTTP"},
		&cli.StringSliceFlag{Category: category, Name: "insecure-registry", Usage: "plain HTTP for `HOST`"},
		&cli.BoolFlag{Category: category, Name: "skip-tls-verify", Usage: "do not verify certificates when pushing and pulling"},
		&cli.BoolFlag{Category: category, Name: "skip-tls-verify-pull", Usage: "do not verify certificates when pulling"},
		&cli.StringSliceFlag{Category: category, Name: "skip-tls-verify-registry", Usage: "do not verify the certificate of `HOST`"},
		&cli.StringSliceFlag{Category: category, Name: "registry-certificate", Usage: "`HOST=FILE`: certificates to trust for a registry"},
		&cli.StringFlag{Category: category, Name: "registry-certificates-dir", Usage: "`DIR` of PEM certificates (*.crt, *.pem) to trust for all registries"},
		&cli.StringSliceFlag{Category: category, Name: "registry-client-cert", Usage: "`HOST=CERT,KEY`: files of the certificate that we show a registry"},
	}
}

// pullFlags say where images come from, for commands that look them up.
func pullFlags() []cli.Flag {
	const category = "Registries"
	return []cli.Flag{
		&cli.StringSliceFlag{Category: category, Name: "registry-mirror", Usage: "`HOST[:PORT][/PREFIX]` from which images of docker.io are pulled, before docker.io itself (also $" + mirrorVariable + ")"},
		&cli.StringSliceFlag{Category: category, Name: "registry-map", Usage: "`REGISTRY=MIRROR[;REGISTRY=MIRROR]`: mirrors of other registries (also $" + mapVariable + ")"},
		&cli.BoolFlag{Category: category, Name: "skip-default-registry-fallback", Usage: "pull from mirrors only, where a registry has any"},
		&cli.IntFlag{Category: category, Name: "image-download-retry", Usage: fewRetries},
	}
}

// pushFlags are for commands that push images.
func pushFlags() []cli.Flag {
	const category = "Registries"
	return []cli.Flag{
		pushRetryFlag(category),
		&cli.BoolFlag{Category: category, Name: "push-ignore-immutable-tag-errors", Usage: "leave a tag that exists and that the registry does not let be changed as it is"},
	}
}

func pushRetryFlag(category string) cli.Flag {
	return &cli.IntFlag{Category: category, Name: "push-retry", Usage: fewRetries}
}

const fewRetries = "repeat failed requests `N` times; fewer than 4 mean 4"

func resultFlags() []cli.Flag {
	const category = "Results"
	return []cli.Flag{
		&cli.StringFlag{Category: category, Name: "results-dir", EnvVars: []string{"SLIPWAY_RESULTS_DIR"}, Usage: "write the Tekton results IMAGE_URL, IMAGE_DIGEST, IMAGE_REF and IMAGES to `DIR`"},
		&cli.StringSliceFlag{Category: category, Name: "result", Usage: "`NAME=PATH`: write one result to a path of its own"},
		&cli.StringFlag{Category: category, Name: "digest-file", Usage: "write the image's digest to `FILE`"},
		&cli.StringFlag{Category: category, Name: "image-name-with-digest-file", Usage: "write one line repository@digest for each tag to `FILE`"},
		&cli.StringFlag{Category: category, Name: "image-name-tag-with-digest-file", Usage: "write one line repository:tag@digest for each tag to `FILE`"},
	}
}

// dockerResultFlags are those for what only a build knows.
func dockerResultFlags() []cli.Flag {
	const category = "Results"
	return []cli.Flag{
		&cli.StringFlag{Category: category, Name: "iidfile", Usage: "write the digest of the image's config to `FILE`, as docker build does"},
		&cli.StringFlag{Category: category, Name: "metadata-file", Usage: "write what was built as JSON to `FILE`, as docker buildx does"},
	}
}

func displayFlags() []cli.Flag {
	const category = "Display"
	return []cli.Flag{
		&cli.StringFlag{Category: category, Name: "progress", Value: "auto", EnvVars: []string{"BUILDKIT_PROGRESS"}, Usage: "auto, tty, plain, quiet or rawjson"},
		&cli.StringFlag{Category: category, Name: "progress-file", EnvVars: []string{"ARGO_PROGRESS_FILE"}, Usage: "append lines N/100 to `FILE`, as Argo Workflows reads them"},
		&cli.BoolFlag{Category: category, Name: "quiet", Aliases: []string{"q"}, Usage: "print nothing but the digest"},
	}
}
