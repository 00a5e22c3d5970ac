package clustercmd

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/belfry-im/belfry/cmd/belfry/internal/cli"
)

// A setting is one of the cluster's configuration. It has the name of the flag of serve
// that a new cluster takes it from.
type setting struct {
	name, key string // key: in the API
	kind      kind
}

type kind uint8

const (
	count    kind = iota
	limit         // a count, of which 0 is no limit
	duration      // in whole seconds
	size
)

var settings = []setting{
	{"offline-ttl", "offlineTtl", duration},
	{"offline-max-messages", "offlineMaxMessages", count},
	{"offline-max-bytes", "offlineMaxBytes", size},
	{"history-ttl", "historyTtl", duration},
	{"user-bytes", "userBytes", size},
	{"dedup-window", "dedupWindow", duration},
	{"recall-window", "recallWindow", duration},
	{"recents", "recents", count},
	{"max-devices", "maxDevices", count},
	{"new-conversations", "newConversations", limit},
	{"group-bytes", "groupBytes", size},
	{"group-rate", "groupRate", limit},
	{"group-burst", "groupBurst", count},
	{"webhook-stored-bytes", "hookBytes", size},
}

// parse returns the value of a setting for the API.
func (s *setting) parse(text string) (int, error) {
	var value pflag.Value
	n, d := 0, time.Duration(0)
	switch s.kind {
	case duration:
		value = cli.Duration(&d, time.Second)
	case size:
		value = cli.Size(&n, 0, math.MaxInt32)
	default:
		value = cli.Count(&n, 0, math.MaxInt32)
	}
	if err := value.Set(text); err != nil {
		return 0, cli.Usagef("%s: %w", s.name, err)
	}
	switch {
	case s.kind == duration && d%time.Second != 0:
		return 0, cli.Usagef("%s: want whole seconds", s.name)
	case s.kind == duration:
		return int(d / time.Second), nil
	case s.kind == limit && n == 0:
		return -1, nil
	}
	return n, nil
}

// format returns a value of the API as parse takes it.
func (s *setting) format(n int) string {
	switch d := time.Duration(n) * time.Second; {
	case s.kind == duration:
		return cli.Duration(&d, 0).String()
	case s.kind == size:
		return cli.Size(&n, 0, math.MaxInt32).String()
	case s.kind == limit && n < 0:
		return "0"
	}
	return fmt.Sprint(n)
}

func newConfig() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Show or change what all nodes go by",
		Long: `Show or change what all nodes go by. The flags of a node seed a new cluster; later
they count for nothing, and these count.`,
	}
	get := command("get [NAME...]", "Show the configuration", "", "  belfry cluster config get\n  belfry cluster config get offline-ttl", cobra.ArbitraryArgs, getConfig)
	set := command("set NAME=VALUE...", "Change the configuration",
		"Values are written as the flags of belfry serve. All are changed at once, or none.",
		"  belfry cluster config set offline-ttl=72h user-bytes=2MiB", cobra.MinimumNArgs(1), setConfig)
	cmd.AddCommand(get, set)
	return cmd
}

func find(name string) (*setting, error) {
	for i := range settings {
		if settings[i].name == name {
			return &settings[i], nil
		}
	}
	names := make([]string, len(settings))
	for i := range settings {
		names[i] = settings[i].name
	}
	return nil, cli.Usagef("%q: want one of %s", name, strings.Join(names, ", "))
}

func getConfig(cmd *cobra.Command, args []string, c *client) error {
	wanted := settings
	if len(args) > 0 {
		wanted = nil
		for _, name := range args {
			s, err := find(name)
			if err != nil {
				return err
			}
			wanted = append(wanted, *s)
		}
	}
	var values map[string]int
	if _, err := c.call(cmd.Context(), http.MethodGet, "/config", nil, &values); err != nil {
		return err
	}
	t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	for _, s := range wanted {
		fmt.Fprintf(t, "%s\t%s\n", s.name, s.format(values[s.key]))
	}
	if len(args) == 0 {
		fmt.Fprintf(t, "version\t%d\n", values["version"])
	}
	return t.Flush()
}

func setConfig(cmd *cobra.Command, args []string, c *client) error {
	change := object{}
	for _, arg := range args {
		name, text, ok := strings.Cut(arg, "=")
		if !ok {
			return cli.Usagef("%q: want NAME=VALUE", arg)
		}
		s, err := find(name)
		if err != nil {
			return err
		}
		if change[s.key], err = s.parse(text); err != nil {
			return err
		}
	}
	if _, err := c.call(cmd.Context(), http.MethodPatch, "/config", change, nil); err != nil {
		return err
	}
	return done(cmd.OutOrStdout(), "changed; the shards take it up soon")
}
