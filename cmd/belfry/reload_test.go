package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestClearTextIsWarnedOf: not everybody in the network is to read along.
func TestClearTextIsWarnedOf(t *testing.T) {
	const clients, administration = "tokens and messages cross the network in the clear", "admin tokens cross the network in the clear"
	for _, c := range []struct {
		o    serveOptions
		want []string
	}{
		{serveOptions{listen: "127.0.0.1:1", adminListen: "[::1]:1"}, nil},
		{serveOptions{listen: ":1", adminListen: "localhost:1"}, []string{clients}},
		{serveOptions{listen: ":1", tlsCert: "x", adminListen: "0.0.0.0:1", adminInsecure: true}, []string{administration}},
		{serveOptions{listen: "192.0.2.1:1", adminListen: "192.0.2.1:1"}, []string{clients, administration}},
		{serveOptions{listen: ":1", tlsCert: "x", adminListen: ":1", adminTLSCert: "x"}, nil},
	} {
		var log bytes.Buffer
		c.o.warnOfClearText(newLogger(&log, "info", "text"))
		for _, text := range []string{clients, administration} {
			if got, want := strings.Contains(log.String(), text), slices.Contains(c.want, text); got != want {
				t.Errorf("%s and %s: %q is said = %t, want %t", c.o.listen, c.o.adminListen, text, got, want)
			}
		}
	}
}

// TestWeakSecretsAreRefused at the start, with the reason.
func TestWeakSecretsAreRefused(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("good", strings.Repeat("x", 32)+"\n")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--auth-secret-file", write("byte", "x")}, "a secret of 1 bytes, want 32 or more"},
		{[]string{"--auth-secret-file", write("31", strings.Repeat("x", 31)+"\n")}, "a secret of 31 bytes, want 32 or more"},
		{[]string{"--auth-secret-file", good, "--auth-secret-file", write("old", "short")}, "a secret of 5 bytes, want 32 or more"},
		{[]string{"--auth-secret-file", write("empty", "\n")}, "is empty"},
		{[]string{"--auth-secret-file", good, "--admin-token-file", write("token", "a\n")}, "line 1: a token of 1 bytes, want 16 or more"},
		{[]string{"--auth-jwks", write("jwks", `{"keys":[{"kty":"oct","k":"AAAA"}]}`), "--auth-audience=a", "--auth-issuer=i"}, "is a secret one"},
		{[]string{"--auth-secret-file", good, "--tls-cert", write("cert", "x"), "--tls-key", write("key", "x")}, "--tls-cert, --tls-key: "},
		{[]string{"--auth-secret-file", good, "--admin-tls-cert", write("cert", "x"), "--admin-tls-key", write("key", "x")}, "--admin-tls-cert, --admin-tls-key: "},
	} {
		var stdout, stderr bytes.Buffer
		code := execute(append([]string{"serve", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--data", filepath.Join(dir, "data")}, c.args...), nil, nil, &stdout, &stderr)
		if code != 1 || !strings.Contains(stderr.String(), c.want) {
			t.Errorf("%v: exit code %d, stderr %q, want 1 and %q", c.args, code, stderr.String(), c.want)
		}
	}
}
