package bucket_test

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/pkg/bucket"
)

// An account's credentials go to Azure's own hosts only.
func TestAzureObject(t *testing.T) {
	const host = "https://account1.blob.core.windows.net"
	for address, want := range map[string]string{
		host + "/c/o.tar.gz": "azblob://c/o.tar.gz?account_url=https%3A%2F%2Faccount1.blob.core.windows.net",
		host + "/c/a/b%20c":  "azblob://c/a/b%20c?account_url=https%3A%2F%2Faccount1.blob.core.windows.net",
		host + "/c":          "azblob://c/?account_url=https%3A%2F%2Faccount1.blob.core.windows.net",
		"https://a12.blob.core.chinacloudapi.cn/c/o":  "azblob://c/o?account_url=https%3A%2F%2Fa12.blob.core.chinacloudapi.cn",
		"https://a12.blob.core.cloudapi.de/c/o":       "azblob://c/o?account_url=https%3A%2F%2Fa12.blob.core.cloudapi.de",
		"https://a12.blob.core.usgovcloudapi.net/c/o": "azblob://c/o?account_url=https%3A%2F%2Fa12.blob.core.usgovcloudapi.net",
		host + "/":               "",
		host + "/c/o?sv=1&sig=2": "",
		host + ":8443/c/o":       "",
		"http://account1.blob.core.windows.net/c/o":       "",
		"https://u:p@account1.blob.core.windows.net/c/o":  "",
		"https://x.account1.blob.core.windows.net/c/o":    "",
		"https://account1.blob.core.windows.net.evil/c/o": "",
		"https://account1.blob.core.windows.netevil/c/o":  "",
		"https://account1-blob.core.windows.net/c/o":      "",
		"https://evil/account1.blob.core.windows.net/c":   "",
		"https://account1.blob.core.windows.net@evil/c/o": "",
		"https://account1.blob.core.windows.net%2eevil/c": "",
		"https://account1.blob.core.windows.net\n.evil/c": "",
		"https://.blob.core.windows.net/c/o":              "",
		"https://account1.blobxcore.windows.net/c/o":      "",
		"https://account1.file.core.windows.net/share/o":  "",
		"s3://account1.blob.core.windows.net/c/o":         "",
		"git://account1.blob.core.windows.net/c/o#a":      "",
		"azblob://c/o": "",
	} {
		got := ""
		if u := bucket.AzureObject(address); u != nil {
			got = u.String()
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", address, got, want)
		}
	}
}

func TestHasAzureCredentials(t *testing.T) {
	for name, want := range map[string]bool{
		"AZURE_STORAGE_ACCESS_KEY": true, "AZURE_STORAGE_SAS_TOKEN": true, "AZURE_FEDERATED_TOKEN_FILE": true, "AZURE_TENANT_ID": false, "AWS_ACCESS_KEY_ID": false,
	} {
		env := func(asked string) string {
			if asked == name {
				return "x"
			}
			return ""
		}
		if got := bucket.HasAzureCredentials(env); got != want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// Neither a signature nor a token goes to a host because a URL says so.
func TestAzureTokensStay(t *testing.T) {
	for _, name := range []string{"AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_ACCOUNT"} {
		t.Setenv(name, "")
	}
	open := func(address string) error {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		b, err := bucket.Open(t.Context(), u)
		if err != nil {
			return err
		}
		return b.Close()
	}
	const evil, own = "azblob://c?account_url=https://account.blob.core.windows.net.example.com", "azblob://c?account_url=https://account.blob.core.windows.net"
	check := func(what, address string, refused bool) {
		t.Helper()
		if err := open(address); (err != nil) != refused || err != nil && strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s at %s: %v", what, address, err)
		}
	}
	t.Setenv("AZURE_STORAGE_SAS_TOKEN", "sv=1&sig=hidden")
	check("a signature", evil, true)
	check("a signature", "azblob://c?storage_account=account&domain=blob.example.com", true)
	check("a signature", own, false)
	t.Setenv("AZURE_STORAGE_KEY", "a2V5")
	check("a signature beside a key", evil, true)
	t.Setenv("AZURE_STORAGE_SAS_TOKEN", "")
	check("a key", evil, false)
	t.Setenv("AZURE_STORAGE_KEY", "")
	check("a token", evil, true)
}

func TestRedacted(t *testing.T) {
	cause := errors.New("no")
	err := bucket.Redacted(fmt.Errorf(`Get "https://u:secret@h/o?sig=secret": %w`, cause))
	if err.Error() != `Get "https://h/o": no` || !errors.Is(err, cause) || bucket.Redacted(nil) != nil {
		t.Errorf("got %v", err)
	}
}
