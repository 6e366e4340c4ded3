package stores

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
)

// The version of Azurite, Microsoft's emulator, and the account and key that its documentation gives.
const (
	azuriteVersion = "3.37.0"
	azuriteAccount = "devstoreaccount1"
	azuriteKey     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// azurite installs Azurite, once, and returns its program and the runtime for it.
func azurite(t *testing.T) (node, script string) {
	t.Helper()
	npm, err := exec.LookPath("npm")
	if err == nil {
		node, err = exec.LookPath("node")
	}
	if err != nil {
		if os.Getenv("SLIPWAY_REQUIRE_TOOLS") != "" {
			t.Fatal("npm, which installs Azurite, is missing, and SLIPWAY_REQUIRE_TOOLS is set")
		}
		t.Skip("npm, which installs Azurite, is not installed (Debian's packages npm and nodejs)")
	}
	caches, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(caches, "slipway-dev", "azurite-"+azuriteVersion)
	script = filepath.Join(dir, "node_modules/azurite/dist/src/blob/main.js")
	if _, err := os.Stat(script); err == nil {
		return node, script
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	// What is half installed is not found: the directory gets its name last.
	scratch, err := os.MkdirTemp(filepath.Dir(dir), "azurite-") //nolint:usetesting // it gets the name of dir, beside it
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(scratch)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	install := exec.CommandContext(ctx, npm, "install", "--prefix", scratch, "--no-audit", "--no-fund", "--ignore-scripts", "azurite@"+azuriteVersion)
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("installing Azurite: %v\n%s", err, out)
	}
	if err := os.Rename(scratch, dir); err != nil && !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
	return node, script
}

// startAzurite starts Azurite with a container and returns the URL of its account.
func startAzurite(t *testing.T) (account string) {
	t.Helper()
	node, script := azurite(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	cmd := exec.CommandContext(ctx, node, script, "--blobHost", "127.0.0.1", "--blobPort", port,
		"--location", t.TempDir(), "--silent", "--skipApiVersionCheck", "--disableTelemetry")
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
	})
	account = fmt.Sprintf("http://127.0.0.1:%s/%s", port, azuriteAccount)
	credential, err := azblob.NewSharedKeyCredential(azuriteAccount, azuriteKey)
	if err != nil {
		t.Fatal(err)
	}
	client, err := azblob.NewClientWithSharedKeyCredential(account, credential, nil)
	if err != nil {
		t.Fatal(err)
	}
	for begun := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		_, err := client.CreateContainer(t.Context(), "container", nil)
		if err == nil {
			return account
		}
		if time.Since(begun) > time.Minute {
			t.Fatalf("Azurite does not answer: %v\n%s", err, log.String())
		}
	}
}

func TestAzure(t *testing.T) {
	account := startAzurite(t)
	t.Setenv("AZURE_STORAGE_KEY", "")
	t.Setenv("AZURE_STORAGE_ACCESS_KEY", azuriteKey) // as Kaniko calls it
	run(t, func(prefix string) string {
		return fmt.Sprintf("azblob://container/%s?account_url=%s", prefix, account)
	})
	roundTrip(t, open(t, "type=azblob,account_url="+account+",container=container,prefix=words,name=x"), "azblob://container/words")
}
