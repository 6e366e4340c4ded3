// Package stores runs the cache's stores, and builds from contexts in buckets, against servers that speak the protocols
// of the clouds, on loopback. It is a module of its own, so that these servers are no dependencies of Slipway.
package stores
