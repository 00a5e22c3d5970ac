package main

import (
	"net/url"
	"strings"

	"github.com/spf13/pflag"

	"github.com/belfry-im/belfry/gateway/inspect"
)

// settingsOf lists the flags that are not their default, whether set by a flag, a variable or
// a file, in order of name. No flag is a secret itself, but files hold them, and the path or
// the query of a URL may be one: of a URL only the host is told.
func settingsOf(flags *pflag.FlagSet) (list []inspect.Setting) {
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Value.String() == f.DefValue {
			return
		}
		s := inspect.Setting{Name: f.Name, Value: f.Value.String(), Default: f.DefValue}
		if strings.Contains(s.Value, "://") && f.Name != "allowed-origins" {
			s.Value, s.Secret = hostOf(s.Value), true
		}
		list = append(list, s)
	})
	return list
}

// hostOf returns the scheme and the host of a URL, "" if it is none.
func hostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}
