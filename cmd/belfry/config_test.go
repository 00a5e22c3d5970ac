package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/belfry-im/belfry/cmd/belfry/internal/cli"
)

// configured returns the options that serve has with these arguments and variables.
func configured(t *testing.T, args, environ []string) (*serveOptions, error) {
	t.Helper()
	var o serveOptions
	root := &cobra.Command{Use: "belfry", SilenceErrors: true, SilenceUsage: true}
	serve := &cobra.Command{Use: "serve", RunE: func(*cobra.Command, []string) error { return nil }}
	o.bind(serve.Flags())
	root.AddCommand(serve, newTokenCommand())
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return cli.Configure(cmd, environ) }
	root.SetArgs(append([]string{"serve"}, args...))
	return &o, root.Execute()
}

func writeConfig(t *testing.T, yaml string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "belfry.yaml")
	if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestConfigPrecedence(t *testing.T) {
	file := writeConfig(t, `
offline-ttl: 24h
offline-max-messages: 7
user-bytes: 2MiB
allowed-origins: [a.example, b.example]
open-users: false
`)
	o, err := configured(t,
		[]string{"--config", file, "--offline-ttl=72h"},
		[]string{"BELFRY_OFFLINE_TTL=48h", "BELFRY_OFFLINE_MAX_MESSAGES=8", "BELFRY_USER=of-token", "HOME=/"})
	if err != nil {
		t.Fatal(err)
	}
	if o.offlineTTL != 72*time.Hour {
		t.Errorf("offline-ttl = %v, want the flag's 72h", o.offlineTTL)
	}
	if o.offlineMaxMessages != 8 {
		t.Errorf("offline-max-messages = %d, want the variable's 8", o.offlineMaxMessages)
	}
	if o.userBytes != 2<<20 || o.openUsers || fmt.Sprint(o.allowedOrigins) != "[a.example b.example]" {
		t.Errorf("user-bytes, open-users, allowed-origins = %d, %v, %v, want the file's", o.userBytes, o.openUsers, o.allowedOrigins)
	}
	if o.recents != 100 {
		t.Errorf("recents = %d, want the default 100", o.recents)
	}

	// The file itself may be named by a variable.
	if o, err = configured(t, nil, []string{"BELFRY_CONFIG=" + file}); err != nil || o.offlineTTL != 24*time.Hour {
		t.Errorf("with BELFRY_CONFIG: offline-ttl = %v, %v, want 24h", o.offlineTTL, err)
	}
}

func TestConfigRefusals(t *testing.T) {
	for _, c := range []struct {
		name, yaml string
		environ    []string
		want       []string // parts of the error
	}{
		{"unknown variable", "", []string{"BELFRY_OFLINE_TTL=1h"}, []string{"BELFRY_OFLINE_TTL", "no such setting"}},
		{"variable in small letters", "", []string{"BELFRY_offline_ttl=1h"}, []string{"BELFRY_offline_ttl", "no such setting"}},
		{"bad value in a variable", "", []string{"BELFRY_MAX_BODY=12 parsecs"}, []string{"BELFRY_MAX_BODY", "want a size"}},
		{"unknown key", "oflline-ttl: 1h", nil, []string{"belfry.yaml", "oflline-ttl", "no such setting"}},
		{"nested key", "offline:\n  ttl: 1h", nil, []string{"offline.ttl", "no such setting"}},
		{"key of the command line only", "config: x", nil, []string{"config", "no such setting"}},
		{"bad value in the file", "offline-ttl: soon", nil, []string{"belfry.yaml: offline-ttl", "want a duration"}},
		{"no value", "offline-ttl:", nil, []string{"offline-ttl", "no value"}},
		{"list", "offline-ttl: [1h]", nil, []string{"offline-ttl", "is a list"}},
		{"no YAML", "a: b: c", nil, []string{"--config", "belfry.yaml"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var args []string
			if c.yaml != "" {
				args = []string{"--config", writeConfig(t, c.yaml)}
			}
			_, err := configured(t, args, c.environ)
			if err == nil {
				t.Fatal("no error")
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not say %q", err, part)
				}
			}
		})
	}
}

func TestValueRefusals(t *testing.T) {
	for _, c := range []struct{ flag, value, want string }{
		{"offline-ttl", "168", "want a duration"},
		{"offline-ttl", "-1s", "want at least 1s"},
		{"offline-ttl", "0s", "want at least 1s"},
		{"max-body", "12KB", "want a size"},
		{"max-body", "0", "want 1B to 32KiB"},
		{"max-body", "33KiB", "want 1B to 32KiB"},
		{"max-body", "-1", "want a size"},
		{"max-body", "NaN", "want a size"},
		{"max-body", "1.0001KiB", "want a size"},
		{"user-bytes", "9999999999TiB", "want a size"},
		{"memory-limit", "63MiB", "at least 64MiB"},
		{"memory-limit", "much", "or auto"},
		{"connection-memory", "1MiB", "at least 4MiB"},
		{"trusted-proxies", "proxy.example", "want networks"},
		{"trusted-proxies", "10.0.0.0/33", "want networks"},
		{"max-devices", "0", "want an integer from 1 to 1000"},
		{"max-devices", "many", "want an integer from 1 to 1000"},
		{"frame-rate", "-1", "want a rate"},
		{"frame-rate", "20:", "want a burst"},
		{"frame-rate", "20:0", "want a burst"},
		{"window", "256", "with 64KiB to 1GiB"},
		{"window", "0:1MiB", "with 1 to 65536 frames"},
		{"window", "1:1KiB", "with 64KiB to 1GiB"},
		{"login-backlog", "1000", "with 1 to 1GiB"},
		{"login-backlog", "0:1MiB", "with 1 to 1048576 messages"},
		{"session-policy", "several", "want multi, platform, single"},
		{"raft-log", "paper", "want wal, boltdb, shared"},
		{"log-level", "loud", "want debug, info, warn, error"},
	} {
		_, err := configured(t, []string{"--" + c.flag + "=" + c.value}, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "--"+c.flag) {
			t.Errorf("--%s=%s: error %v, want %q", c.flag, c.value, err, c.want)
		}
	}
}

func TestValuesPrintAsTheyAreRead(t *testing.T) {
	o, err := configured(t, []string{"--offline-ttl=90m", "--dedup-window=36h0m5s", "--user-bytes=1.5MiB", "--frame-rate=7", "--login-rate=0", "--window=10:65536", "--login-backlog=5:2048"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ got, want string }{
		{cli.Duration(&o.offlineTTL, 0).String(), "1h30m"},
		{cli.Duration(&o.dedupWindow, 0).String(), "36h0m5s"},
		{cli.Duration(&o.historyTTL, 0).String(), "168h"},
		{cli.Size(&o.userBytes, 0, 0).String(), "1536KiB"},
		{cli.MemorySize(&o.memoryLimit, cli.LeastMemory).String(), "auto"},
		{cli.Rate(&o.frameRate, &o.frameBurst).String(), "7:7"},
		{cli.Rate(&o.loginRate, &o.loginBurst).String(), "0"},
		{cli.Window(&o.windowFrames, &o.windowBytes).String(), "10:64KiB"},
		{cli.Backlog(&o.backlogMessages, &o.backlogBytes).String(), "5:2KiB"},
	} {
		if c.got != c.want {
			t.Errorf("printed %q, want %q", c.got, c.want)
		}
	}
}

func TestServeRefusals(t *testing.T) {
	secret := "--auth-secret-file=x"
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"no keys", nil, "--auth-secret-file or --auth-jwks"},
		{"dev on all interfaces", []string{"--dev", "--listen=:8080"}, "--listen :8080: with --dev only a loopback address"},
		{"dev on another host", []string{"--dev", "--listen=192.0.2.1:80"}, "with --dev only a loopback address"},
		{"dev administration", []string{"--dev", "--admin-listen=0.0.0.0:1"}, "--admin-listen"},
		{"administration in the clear", []string{secret, "--admin-listen=:8081"}, "--admin-listen :8081: want --admin-tls-cert and --admin-tls-key"},
		{"administration of one address in the clear", []string{secret, "--admin-listen=192.0.2.1:81"}, "admin tokens would cross the network in the clear"},
		{"administration's certificate without key", []string{secret, "--admin-tls-cert=x"}, "--admin-tls-cert, --admin-tls-key"},
		{"no port", []string{secret, "--listen=localhost"}, "--listen: want host:port"},
		{"keys without audience", []string{"--auth-jwks=x", "--auth-issuer=i"}, "--auth-audience and --auth-issuer"},
		{"certificate without key", []string{secret, "--tls-cert=x"}, "--tls-cert, --tls-key"},
		{"origin of pages without one", []string{secret, "--allowed-origins=null"}, "--allowed-origins: \"null\" is no origin"},
		{"origin with a path", []string{secret, "--allowed-origins=https://app.example.com/"}, "--allowed-origins"},
		{"no data", []string{secret, "--data="}, "--data"},
		{"no node", []string{secret, "--node="}, "--node"},
		{"events for nobody", []string{secret, "--webhook-events=message.sent"}, "--webhook-events: want --webhook-url"},
		{"webhooks in the clear", []string{secret, "--webhook-url=http://example.com/", "--webhook-secret-file=x"}, "want https"},
		{"webhooks elsewhere", []string{secret, "--webhook-url=example.com", "--webhook-secret-file=x"}, "--webhook-url"},
		{"webhooks of anybody", []string{secret, "--webhook-url=https://example.com/"}, "--webhook-secret-file"},
		{"unknown event", []string{secret, "--webhook-url=https://example.com/", "--webhook-secret-file=x", "--webhook-events=message.lost"}, "message.lost"},
		{"open to nothing", []string{secret, "--webhook-url=https://example.com/", "--webhook-secret-file=x", "--webhook-events=message.sent", "--webhook-fail-open"}, "--webhook-fail-open"},
		{"queue longer than history", []string{secret, "--history-ttl=1h"}, "--offline-ttl"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := execute(append([]string{"serve"}, c.args...), nil, nil, &stdout, &stderr); code != 2 {
				t.Errorf("exit code = %d, want 2", code)
			}
			if !strings.Contains(stderr.String(), c.want) || stdout.Len() > 0 {
				t.Errorf("stderr %q, stdout %q, want an error that says %q", stderr.String(), stdout.String(), c.want)
			}
		})
	}
}

// TestDevListens holds --dev to addresses that only this machine reaches.
func TestDevListens(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", "localhost:80", "[::1]:8080"} {
		o, err := configured(t, []string{"--dev", "--listen=" + listen}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := o.check(func(flag string) bool { return flag == "listen" }); err != nil {
			t.Errorf("--dev --listen %s: %v", listen, err)
		}
	}
	o, err := configured(t, []string{"--dev"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.check(func(string) bool { return false }); err != nil || o.listen != cli.DevListen {
		t.Errorf("--dev listens on %s, %v, want %s", o.listen, err, cli.DevListen)
	}
}

func TestCommandLine(t *testing.T) {
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"", 0, "Available Commands"},
		{"--help", 0, "belfry serve --dev"},
		{"serve --help", 0, "Examples:"},
		{"chat --help", 0, "Examples:"},
		{"token --help", 0, "Examples:"},
		{"version --help", 0, "Examples:"},
		{"version", 0, "belfry "},
		{"version now", 2, "unknown command"},
		{"fly", 2, "unknown command"},
		{"serve --fly", 2, "unknown flag: --fly"},
		{"token", 2, "--user"},
		{"token --user a\tb", 2, "printable ASCII"},
		{"token --user alice --ttl 0s", 2, "want at least 1s"},
		{"token --user alice --data /nowhere", 1, "run `belfry serve --dev`"},
		{"token --user alice --auth-secret-file /nowhere", 1, "/nowhere"},
		{"serve --auth-secret-file /nowhere", 1, "--auth-secret-file"},
		{"serve --dev --config /nowhere", 2, "/nowhere"},
	} {
		var stdout, stderr bytes.Buffer
		code := execute(strings.FieldsFunc(c.args, func(r rune) bool { return r == ' ' }), nil, nil, &stdout, &stderr)
		out := &stdout
		if c.code != 0 {
			out = &stderr
		}
		if code != c.code || !strings.Contains(out.String(), c.says) {
			t.Errorf("belfry %s: exit code %d, stdout %q, stderr %q; want %d, %q", c.args, code, stdout.String(), stderr.String(), c.code, c.says)
		}
	}
}

// TestVariablesOfAService: beside a service called belfry a container platform sets
// variables that look like settings, for every container.
func TestVariablesOfAService(t *testing.T) {
	service := []string{
		"BELFRY_SERVICE_HOST=10.0.0.1", "BELFRY_SERVICE_PORT=8080", "BELFRY_SERVICE_PORT_CLIENTS=8080", "BELFRY_PORT=tcp://10.0.0.1:8080",
		"BELFRY_PORT_8080_TCP=tcp://10.0.0.1:8080", "BELFRY_PORT_8080_TCP_PROTO=tcp", "BELFRY_PORT_8080_TCP_PORT=8080", "BELFRY_PORT_8080_TCP_ADDR=10.0.0.1",
		"BELFRY_ADMIN_SERVICE_HOST=10.0.0.2", "BELFRY_ADMIN_PORT=tcp://10.0.0.2:8081", "BELFRY_ADMIN_PORT_8081_TCP=tcp://10.0.0.2:8081",
	}
	for _, c := range []struct {
		name    string
		environ []string
		code    int
		want    string // on stderr
	}{
		{"the whole family", service, 0, "BELFRY_ADMIN_PORT, BELFRY_ADMIN_PORT_8081_TCP, "},
		{"a setting beside", append([]string{"BELFRY_LOG_LEVEL=info"}, service...), 0, "passed over"},
		{"a wrong name beside", append([]string{"BELFRY_LISTENS=x"}, service...), 2, "BELFRY_LISTENS: no such setting"},
		{"a port without a service", []string{"BELFRY_PORT=8080"}, 2, "BELFRY_PORT: no such setting"},
		{"another's port", []string{"OTHER_SERVICE_HOST=x", "BELFRY_PORT=8080"}, 2, "BELFRY_PORT: no such setting"},
		{"a near miss", append([]string{"BELFRY_PORTS=1"}, service...), 2, "BELFRY_PORTS: no such setting"},
	} {
		var stdout, stderr bytes.Buffer
		if code := execute([]string{"version"}, c.environ, nil, &stdout, &stderr); code != c.code || !strings.Contains(stderr.String(), c.want) {
			t.Errorf("%s: exit code %d, stderr %q, want %d and %q", c.name, code, stderr.String(), c.code, c.want)
		}
	}
}
