package clustercmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/belfry-im/belfry/cmd/belfry/internal/cli"
)

type object map[string]any

// callTimeout bounds a call: a change waits up to 10 s for a leader.
const callTimeout = 20 * time.Second

// A client calls the administration API of a node.
type client struct {
	admin, tokenFile string

	base, token string
}

func (c *client) bind(fs *pflag.FlagSet) {
	fs.StringVar(&c.admin, "admin", "http://"+cli.AdminListen, "URL of a node's --admin-listen, any node's")
	fs.StringVar(&c.tokenFile, "admin-token-file", "", "file with a token of scope cluster, in its first line with one; a node that runs with --dev needs none")
}

// open checks the flags and reads the token.
func (c *client) open() error {
	u, err := url.Parse(c.admin)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return cli.Usagef("--admin: %q: want a URL such as http://%s", c.admin, cli.AdminListen)
	}
	c.base = strings.TrimSuffix(u.Scheme+"://"+u.Host+u.Path, "/")
	if c.tokenFile == "" {
		return nil
	}
	data, err := os.ReadFile(c.tokenFile)
	if err != nil {
		return fmt.Errorf("--admin-token-file: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		words := strings.Fields(line)
		if len(words) > 0 && !strings.HasPrefix(words[0], "#") && (len(words) == 1 || strings.Contains(" "+strings.Join(words[1:], " ")+" ", " cluster ")) {
			c.token = words[0]
			return nil
		}
	}
	return fmt.Errorf("--admin-token-file: %s has no token with the scope cluster", c.tokenFile)
}

func escape(text string) string { return url.QueryEscape(text) }

// call makes a call below /v1/cluster, decodes the answer into reply unless that is nil,
// and returns it as it came.
func (c *client) call(ctx context.Context, method, path string, body, reply any) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var in io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		in = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base+"/v1/cluster"+path, in)
	if err != nil {
		return nil, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		return nil, refusal(resp, text)
	}
	text = bytes.TrimSpace(text)
	if reply == nil {
		return text, nil
	}
	return text, json.Unmarshal(text, reply)
}

// safeToStop asks the node itself, without a token, and returns why it must not be stopped
// now.
func (c *client) safeToStop(ctx context.Context) (reasons []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/safe-to-stop", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode == http.StatusOK {
		return nil, err
	}
	var e struct{ Code, Message string }
	if json.Unmarshal(text, &e) == nil && e.Code == "unsafe" {
		return strings.Split(e.Message, "; "), nil
	}
	return nil, refusal(resp, text)
}

// refusal returns what a node answered instead.
func refusal(resp *http.Response, text []byte) error {
	var e struct{ Code, Message string }
	if json.Unmarshal(text, &e) != nil || e.Message == "" {
		return fmt.Errorf("%s answered %s", resp.Request.URL.Host, resp.Status)
	}
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%s: want --admin-token-file with a token of the scope cluster", e.Message)
	case http.StatusNotFound:
		return fmt.Errorf("the server at %s is not in a cluster: it was started without --cluster-listen", resp.Request.URL.Host)
	}
	return errors.New(e.Message)
}
