package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/urfave/cli/v2"

	"github.com/slipway-build/slipway/pkg/bucket"
	"github.com/slipway-build/slipway/pkg/build"
)

// cacheOptions turns the flags into the options of the cache: Kaniko's --cache with --cache-repo, and
// docker's --cache-from and --cache-to beside it.
func cacheOptions(c *cli.Context) (build.CacheOptions, error) {
	o := build.CacheOptions{
		From: c.StringSlice("cache-from"), To: c.StringSlice("cache-to"),
		TTL: c.Duration("cache-ttl"), WriteTimeout: c.Duration("cache-write-timeout"),
		Mounts: c.StringSlice("cache-mounts"), MountMaxSize: c.String("cache-mount-max-size"),
		SkipCopies: !c.Bool("cache-copy-layers"), SkipRuns: !c.Bool("cache-run-layers"),
	}
	if o.TTL < 0 || o.WriteTimeout < 0 {
		return o, fmt.Errorf("--cache-ttl and --cache-write-timeout cannot be negative")
	}
	if c.Bool("cache") {
		repo, err := cacheRepo(c)
		if err != nil {
			return o, err
		}
		o.From, o.To = append(o.From, repo), append(o.To, repo)
	}
	if c.Bool("no-push-cache") {
		o.To = nil
	}
	return o, nil
}

// cacheRepo is the store of --cache.
func cacheRepo(c *cli.Context) (string, error) {
	if repo := c.String("cache-repo"); repo != "" {
		return repo, nil
	}
	tags := c.StringSlice("tag")
	if len(tags) == 0 {
		dir, err := stateDir(c)
		return filepath.Join(dir, "cache"), err
	}
	ref, err := name.ParseReference(tags[0])
	if err != nil {
		return "", fmt.Errorf("--tag %s: %w", tags[0], err)
	}
	return ref.Context().String() + "/cache", nil
}

const cloudCredentialsDir = "cloud-credentials-dir"

// cloudCredentialsFlag is for contexts and caches in buckets.
func cloudCredentialsFlag(category string) cli.Flag {
	return &cli.StringFlag{Category: category, Name: cloudCredentialsDir, Usage: "`DIR` of files that clients of buckets find their credentials by, as a mounted Kubernetes Secret has them"}
}

// setCloudCredentials puts what is in that directory into this process's environment, where the clouds' clients look.
// It comes after the flags have been read, so that no --build-arg can take its value from there.
func setCloudCredentials(c *cli.Context) error {
	dir := c.String(cloudCredentialsDir)
	if dir == "" {
		return nil
	}
	env, err := bucket.Environment(dir)
	for name, value := range env {
		err = errors.Join(err, os.Setenv(name, value))
	}
	return err
}
