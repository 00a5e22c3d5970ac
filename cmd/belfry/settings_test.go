package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestSettingsThatAreNotTheDefault(t *testing.T) {
	var o serveOptions
	fs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	o.bind(fs)
	if list := settingsOf(fs); len(list) != 0 {
		t.Errorf("settings without flags = %+v, want none", list)
	}
	if err := fs.Parse([]string{
		"--recents=50", "--history-ttl=168h", "--allowed-origins=https://app.example.com",
		"--webhook-url=https://name:word@hooks.example.com/T00/secret?token=x", "--auth-secret-file=/etc/belfry/auth.secret",
	}); err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for _, s := range settingsOf(fs) {
		got[s.Name] = s.Value
		if s.Secret != (s.Name == "webhook-url") {
			t.Errorf("%s: secret = %v", s.Name, s.Secret)
		}
		if s.Name == "recents" && s.Default != "100" {
			t.Errorf("default of recents = %q", s.Default)
		}
	}
	want := map[string]string{
		"recents": "50", "allowed-origins": "[https://app.example.com]", "webhook-url": "https://hooks.example.com",
		"auth-secret-file": "[/etc/belfry/auth.secret]", // history-ttl is its default
	}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s = %q, want %q", name, got[name], value)
		}
	}
	if len(got) != len(want) {
		t.Errorf("settings = %v, want %v", got, want)
	}
}

// A flag that were a secret itself would be told by settingsOf.
func TestNoFlagIsASecret(t *testing.T) {
	var o serveOptions
	fs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	o.bind(fs)
	secret := regexp.MustCompile(`secret|token|password|key|credential`)
	fs.VisitAll(func(f *pflag.Flag) {
		yesOrNo := f.Value.Type() == "bool"
		if secret.MatchString(f.Name) && !yesOrNo && !strings.Contains(f.Usage, "file with") && !strings.Contains(f.Usage, "PEM file") {
			t.Errorf("--%s: %s: is it a secret?", f.Name, f.Usage)
		}
	})
}
