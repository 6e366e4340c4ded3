package bucket

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"gocloud.dev/blob"
	"gocloud.dev/blob/azureblob"
)

// openAzure opens "azblob://container", of the account that account_url=https://ACCOUNT.blob.core.windows.net,
// storage_account=ACCOUNT or the environment names, with the credentials of Azure's tools, or the key of
// AZURE_STORAGE_ACCESS_KEY as in Kaniko.
func openAzure(ctx context.Context, u *url.URL) (*blob.Bucket, error) {
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, err
	}
	account := q.Get("account_url")
	if account == "" {
		o := &azureblob.URLOpener{MakeClient: azureClient, ServiceURLOptions: *azureblob.NewDefaultServiceURLOptions()}
		return o.OpenBucketURL(ctx, u)
	}
	if len(q) > 1 {
		return nil, errors.New("beside account_url there are no other options")
	}
	service, err := url.Parse(account)
	if err != nil || service.Host == "" || service.RawQuery != "" || service.User != nil {
		return nil, fmt.Errorf("%q is not the URL of an account", redact(account))
	}
	service.RawQuery = strings.TrimPrefix(os.Getenv("AZURE_STORAGE_SAS_TOKEN"), "?")
	client, err := azureClient(azureblob.ServiceURL(service.String()), azureblob.ContainerName(u.Host))
	if err != nil {
		return nil, err
	}
	return azureblob.OpenBucket(ctx, client, nil)
}

// azureClient finds the credentials for a container.
func azureClient(service azureblob.ServiceURL, name azureblob.ContainerName) (*container.Client, error) {
	u, err := url.Parse(string(service))
	if err != nil {
		return nil, errors.New("the account's URL is none")
	}
	key := os.Getenv("AZURE_STORAGE_KEY")
	if key == "" {
		key = os.Getenv("AZURE_STORAGE_ACCESS_KEY")
	}
	// A key signs requests and stays here. Whatever else there is, a signature or a token, opens the account to whoever gets
	// it; a connection string names its host itself.
	token := u.RawQuery != "" || key == "" && os.Getenv("AZURE_STORAGE_CONNECTION_STRING") == ""
	if token && !azureHost.MatchString(u.Host) && !isLoopback(u.Hostname()) {
		return nil, fmt.Errorf("%s is not a host of Azure's: it gets no tokens; a key in AZURE_STORAGE_KEY would do", u.Host)
	}
	if key == "" {
		return azureblob.NewDefaultClient(service, name)
	}
	credential, err := azblob.NewSharedKeyCredential(azureAccount(u), key)
	if err != nil {
		return nil, errors.New("AZURE_STORAGE_KEY or AZURE_STORAGE_ACCESS_KEY is not the key of an account")
	}
	return container.NewClientWithSharedKeyCredential(u.JoinPath(string(name)).String(), credential, nil)
}

// azureAccount is the account that the URL of its service stands for: "https://ACCOUNT.blob.core.windows.net" or,
// of an emulator, "http://127.0.0.1:10000/ACCOUNT".
func azureAccount(service *url.URL) string {
	if p := strings.Trim(service.Path, "/"); p != "" {
		return p
	}
	account, _, _ := strings.Cut(service.Host, ".")
	return account
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}
