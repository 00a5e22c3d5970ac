package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/belfry-im/belfry/cmd/belfry/internal/cli"
	"github.com/belfry-im/belfry/gateway/console"
)

// makeSecret gives a development server without secret or key set one that it
// makes in the data folder.
func (o *serveOptions) makeSecret() error {
	if len(o.authSecretFiles) > 0 || o.authJWKS != "" {
		return nil
	}
	if err := os.MkdirAll(o.data, 0o700); err != nil {
		return fmt.Errorf("--data: %w", err)
	}
	o.authSecretFiles = []string{filepath.Join(o.data, cli.SecretName)}
	return ensureSecret(o.authSecretFiles[0])
}

// ensureSecret makes a file with a random secret, which nobody else may read,
// unless the file exists. A crash leaves no part of it.
func ensureSecret(path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	// A Text has 26 letters of 5 bits; two of them make 260 bits.
	_, err = f.WriteString(rand.Text() + rand.Text() + "\n")
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	// Unlike a rename, a link does not replace what somebody else has just made.
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// makesTokens reports whether this is a development server with the secret that it
// made. Other programs make the tokens of any other server.
func (o *serveOptions) makesTokens() bool {
	return o.dev && len(o.authSecretFiles) == 1 && filepath.Clean(o.authSecretFiles[0]) == filepath.Join(o.data, cli.SecretName)
}

// openConsole returns the handler of the web console, nil if there is none. That of a
// development server gives everybody who reaches it a token of any user, which the
// data folder does too.
func (o *serveOptions) openConsole() (http.Handler, error) {
	if !o.console {
		return nil, nil
	}
	c := console.Config{Page: console.Chat}
	if o.makesTokens() || o.consoleTokens {
		c.Token = func(user string) (string, error) {
			if err := cli.CheckUser(user); err != nil {
				return "", err
			}
			return cli.TokenFromFile(o.authSecretFiles[0], user, cli.TokenTTL)
		}
	}
	return console.New(c)
}

// printDev prints how to try the server out, in commands that can be pasted.
func (o *serveOptions) printDev(w io.Writer, listen, adminListen string) error {
	scheme, adminScheme := "http", "http"
	if o.tlsCert != "" {
		scheme = "https"
	}
	if o.adminTLSCert != "" {
		adminScheme = "https"
	}
	fmt.Fprintf(w, `
Belfry is open for development, to this machine only.
  clients         %[1]s://%[2]s/v1/ws
  administration  %[4]s://%[3]s/operator/ /docs /metrics /healthz
`, strings.Replace(scheme, "http", "ws", 1), listen, adminListen, adminScheme)
	if o.console {
		fmt.Fprintf(w, "  chat            %s://%s/ in a browser\n", scheme, listen)
	}
	if !o.makesTokens() {
		return nil
	}
	var tokens [2]string
	for i, user := range []string{"alice", "bob"} {
		token, err := cli.DevToken(o.data, user, cli.TokenTTL)
		if err != nil {
			return err
		}
		tokens[i] = token
	}
	where := ""
	if listen != cli.DevListen {
		where += " --server " + shellQuote(scheme+"://"+listen)
	}
	if o.data != cli.DefaultData {
		where += " --data " + shellQuote(o.data)
	}
	_, err := fmt.Fprintf(w, `
Chat, each command in a terminal of its own:
  %[1]s chat --user alice --to bob%[2]s
  %[1]s chat --user bob --to alice%[2]s

Tokens for other clients, good for a day:
  alice  %[3]s
  bob    %[4]s
`, shellQuote(os.Args[0]), where, tokens[0], tokens[1])
	return err
}

// shellQuote quotes text as one word for a POSIX shell.
func shellQuote(text string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:@%+=,", r)
	}
	if text != "" && strings.IndexFunc(text, func(r rune) bool { return !plain(r) }) < 0 {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
