// Package workers stands in for BuildKit's package of that name: which backends there are, and what
// they can do.
package workers

import (
	"testing"

	"github.com/slipway-build/slipway/test/conformance/shim/integration"
)

// Features that tests name as their requirements.
const (
	FeatureCacheExport          = "cache_export"
	FeatureCacheImport          = "cache_import"
	FeatureCacheBackendInline   = "cache_backend_inline"
	FeatureCacheBackendLocal    = "cache_backend_local"
	FeatureCacheBackendRegistry = "cache_backend_registry"
	FeatureDirectPush           = "direct_push"
	FeatureFrontendOutline      = "frontend_outline"
	FeatureFrontendTargets      = "frontend_targets"
	FeatureImageExporter        = "image_exporter"
	FeatureInfo                 = "info"
	FeatureMergeDiff            = "merge_diff"
	FeatureMultiCacheExport     = "multi_cache_export"
	FeatureMultiPlatform        = "multi_platform"
	FeatureOCIExporter          = "oci_exporter"
	FeatureOCILayout            = "oci_layout"
	FeatureProvenance           = "provenance"
	FeatureSBOM                 = "sbom"
	FeatureSecurityMode         = "security_mode"
	FeatureSourceDateEpoch      = "source_date_epoch"
	FeatureCNINetwork           = "cni_network"
	FeatureContentCheck         = "content_check"
	FeatureCDI                  = "cdi"
)

// CheckFeatureCompat skips nothing: what slipway cannot do is to be seen in the list of tests that fail.
func CheckFeatureCompat(*testing.T, integration.Sandbox, ...string) {}

// HasFeatureCompat is nil for all features, for the same reason.
func HasFeatureCompat(*testing.T, integration.Sandbox, ...string) error { return nil }

// InitOCIWorker does nothing: there is one worker, slipway.
func InitOCIWorker() {}

// InitContainerdWorker does nothing either.
func InitContainerdWorker() {}

// InitDockerdWorker does nothing either.
func InitDockerdWorker() {}

// IsTestDockerd is false.
func IsTestDockerd() bool { return false }

// IsTestDockerdMoby is false.
func IsTestDockerdMoby(integration.Sandbox) bool { return false }
