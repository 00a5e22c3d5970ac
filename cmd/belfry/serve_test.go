package main

import (
	"bytes"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestServePortTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for flag, variable := range map[string]string{"--listen": "BELFRY_LISTEN=127.0.0.1:PORT", "--admin-listen": "BELFRY_ADMIN_LISTEN=127.0.0.1:PORT"} {
		var stdout, stderr bytes.Buffer
		args := []string{"serve", "--dev", "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", flag, taken.Addr().String()}
		code := execute(args, nil, nil, &stdout, &stderr)
		if code != 1 || !strings.Contains(stderr.String(), flag+":") || !strings.Contains(stderr.String(), variable) {
			t.Errorf("exit code %d, stderr %q, want 1 and an error that names %s and %s", code, stderr.String(), flag, variable)
		}
	}
}

func TestAdminTokenFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "admin.tokens")
	for _, c := range []struct{ name, content, want string }{
		{"empty", "\n\n", path + ": there is no token"},
		{"unknown scope", "\na-token-of-16-bytes\nanother-of-16-bytes read,admin\n", `: line 3: scope "admin": want one of read, write, cluster`},
		{"too short", "fifteen-letters\n", ": line 1: a token of 15 bytes, want 16 or more"},
		{"the same twice", "a-token-of-16-bytes read\n\na-token-of-16-bytes write\n", ": line 3: this token is there already"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			var stdout, stderr bytes.Buffer
			code := execute([]string{"serve", "--dev", "--data", dir, "--admin-token-file", path}, nil, nil, &stdout, &stderr)
			if code != 1 || !strings.Contains(stderr.String(), c.want) {
				t.Errorf("exit code %d, stderr %q, want 1 and %q", code, stderr.String(), c.want)
			}
		})
	}
}

// TestEnsureSecret keeps a secret that is there and makes different ones.
func TestEnsureSecret(t *testing.T) {
	dir := t.TempDir()
	var secrets []string
	for _, name := range []string{"a", "a", "b"} {
		path := filepath.Join(dir, name)
		if err := ensureSecret(path); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, string(content))
	}
	if secrets[0] != secrets[1] || secrets[0] == secrets[2] || len(secrets[0]) < 32 {
		t.Errorf("secrets %q, want the first kept and the second another", secrets)
	}
	files, err := fs.Glob(os.DirFS(dir), "*")
	if err != nil || len(files) != 2 {
		t.Errorf("files %v, %v, want the two secrets alone", files, err)
	}
}
