package credentials

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecrpublic"
	"github.com/google/go-containerregistry/pkg/authn"
)

const (
	ecrPublic       = "public.ecr.aws"
	ecrPublicRegion = "us-east-1" // the only one
)

// ecrHost is a private registry: its account, whether FIPS 140 is wanted, and its region. The domains are those
// of Amazon's partitions, and of hosts that have IPv6.
var ecrHost = regexp.MustCompile(`^[0-9]{12}\.dkr[.-]ecr(-fips)?\.([a-z0-9-]+)\.` +
	`(?:amazonaws\.com|amazonaws\.com\.cn|amazonaws\.eu|on\.aws|on\.amazonwebservices\.com\.cn|sc2s\.sgov\.gov|c2s\.ic\.gov|cloud\.adc-e\.uk|csp\.hci\.ic\.gov)$`)

// isECR reports whether a host is of Amazon's registry. Its public registry needs no login to pull, so it is asked for one
// only where the environment names an identity: looking for that of a node takes seconds where there is none.
func isECR(env func(string) string) func(string) bool {
	return func(host string) bool {
		if host == ecrPublic {
			return slices.ContainsFunc([]string{
				"AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE",
				"AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
			}, func(name string) bool { return env(name) != "" })
		}
		return ecrHost.MatchString(host)
	}
}

// ecrLogin takes what AWS's tools find: keys, a profile, the identity of an EKS pod or of its service account, or that of the
// node.
func ecrLogin(ctx context.Context, host string) (login, error) {
	region, fips := ecrPublicRegion, aws.FIPSEndpointStateUnset
	if parts := ecrHost.FindStringSubmatch(host); parts != nil {
		region = parts[2]
		if parts[1] != "" {
			fips = aws.FIPSEndpointStateEnabled
		}
	}
	c, err := config.LoadDefaultConfig(ctx, config.WithRegion(region))
	if err != nil {
		return login{}, err
	}
	if _, err := c.Credentials.Retrieve(ctx); err != nil {
		return login{}, absent(fmt.Errorf("no identity at AWS: %w", err))
	}
	token, expires, err := ecrToken(ctx, c, host, fips)
	if err != nil {
		return login{}, err
	}
	text, err := base64.StdEncoding.DecodeString(aws.ToString(token))
	user, password, ok := strings.Cut(string(text), ":")
	if err != nil || !ok {
		return login{}, errors.New("AWS gave a token that is none")
	}
	return login{authn.AuthConfig{Username: user, Password: password}, aws.ToTime(expires)}, nil
}

func ecrToken(ctx context.Context, c aws.Config, host string, fips aws.FIPSEndpointState) (*string, *time.Time, error) {
	if host == ecrPublic {
		out, err := ecrpublic.NewFromConfig(c).GetAuthorizationToken(ctx, &ecrpublic.GetAuthorizationTokenInput{})
		if err != nil || out.AuthorizationData == nil {
			return nil, nil, err
		}
		return out.AuthorizationData.AuthorizationToken, out.AuthorizationData.ExpiresAt, nil
	}
	client := ecr.NewFromConfig(c, func(o *ecr.Options) {
		if fips != aws.FIPSEndpointStateUnset {
			o.EndpointOptions.UseFIPSEndpoint = fips
		}
	})
	out, err := client.GetAuthorizationToken(ctx, &ecr.GetAuthorizationTokenInput{})
	if err != nil || len(out.AuthorizationData) == 0 {
		return nil, nil, err
	}
	return out.AuthorizationData[0].AuthorizationToken, out.AuthorizationData[0].ExpiresAt, nil
}
