package main

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestConsoleTokens looks who gets a token for no more than a name: only people at a
// development server, and there of a secret that was given only on request.
func TestConsoleTokens(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(strings.Repeat("s", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   string
		status int // of POST /dev/token; 0: there is no console
		wrong  string
	}{
		{"--dev", 200, ""},
		{"--dev --console=false", 0, ""},
		{"--dev --auth-secret-file " + secret, 404, ""},
		{"--dev --console-tokens --auth-secret-file " + secret, 200, ""},
		{"--dev --console-tokens", 0, "--console-tokens"},
		{"--auth-secret-file " + secret, 0, ""},
		{"--console --auth-secret-file " + secret, 404, ""},
		{"--console --console-tokens --auth-secret-file " + secret, 0, "--console-tokens"},
	} {
		t.Run(c.args, func(t *testing.T) {
			args := append(strings.Fields(c.args), "--data", t.TempDir())
			o, err := configured(t, args, nil)
			if err != nil {
				t.Fatal(err)
			}
			err = o.check(func(flag string) bool { return strings.Contains(c.args, "--"+flag+"=") })
			if c.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), c.wrong) {
					t.Errorf("check: %v, want an error that names %s", err, c.wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if o.dev {
				if err := o.makeSecret(); err != nil {
					t.Fatal(err)
				}
			}
			console, err := o.openConsole()
			if err != nil {
				t.Fatal(err)
			}
			status := 0
			if console != nil {
				r := httptest.NewRequest("POST", "/dev/token", strings.NewReader(`{"user":"alice"}`))
				r.Header.Set("Content-Type", "application/json")
				w := httptest.NewRecorder()
				console.ServeHTTP(w, r)
				status = w.Code
			}
			if status != c.status {
				t.Errorf("POST /dev/token = %d, want %d", status, c.status)
			}
		})
	}
}
