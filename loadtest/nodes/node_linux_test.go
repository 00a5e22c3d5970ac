package nodes

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/loadtest"
)

// newServer returns a cluster of one server that does not run.
func newServer(t *testing.T, apart bool) *Cluster {
	t.Helper()
	if os.Getenv("BELFRY_TEST_NO_SERVERS") != "" {
		t.Skip("BELFRY_TEST_NO_SERVERS is set")
	}
	program, err := server()
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(Config{Program: program, Dir: t.TempDir(), Apart: apart, Ended: func(_ *Node, err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// TestNode takes one server through all that can be done to it, while users chat.
func TestNode(t *testing.T) {
	for name, apart := range map[string]bool{"together": false, "apart": true} {
		t.Run(name, func(t *testing.T) {
			c := newServer(t, apart)
			n := c.Nodes()[0]
			if err := c.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			disturb := func(ctx context.Context) error {
				n.Kill()
				if n.Running() || n.PID() != 0 {
					return errors.New("it runs after Kill")
				}
				if err := c.Start(ctx); err != nil {
					return err
				}
				if err := n.Pause(); err != nil {
					return err
				}
				asked, cancel := context.WithTimeout(ctx, while)
				defer cancel()
				if err := n.Ready(asked); !errors.Is(err, context.DeadlineExceeded) {
					return errors.Join(err, errors.New("a frozen server answered"))
				}
				return errors.Join(n.Continue(), n.Ready(ctx), n.Stop(), c.Start(ctx))
			}
			report, err := loadtest.Pairs(t.Context(), loadtest.PairsConfig{
				Config: loadtest.Config{Server: loadtest.Server{URLs: c.URLs(), Codec: protocol.Msgpack, Token: c.Token}},
				Users:  10, Body: 100, Rate: 200, Duration: 500 * time.Millisecond, Resume: true, Ordered: true, ReadBack: true,
				Disturb: func(ctx context.Context, _ []*loadtest.Client, _ *loadtest.Silences) {
					if err := disturb(ctx); err != nil && ctx.Err() == nil {
						t.Error(err)
					}
				},
			})
			if err == nil {
				err = report.Err()
			}
			if err != nil {
				t.Fatalf("%v\n%s", err, n.LogEnd())
			}
			if report.Reconnects == 0 || n.Generation() != 3 || len(c.PIDs()) != 1 {
				t.Errorf("%d reconnects, %d lives, processes %v; want some, 3, one", report.Reconnects, n.Generation(), c.PIDs())
			}
			if m, err := n.Metrics(t.Context()); err != nil || m["go_goroutines"] == 0 {
				t.Errorf("metrics: %v, %v", m, err)
			}
			if err := n.Call(t.Context(), http.MethodGet, "/nowhere", nil, nil); err == nil || !strings.Contains(err.Error(), "404") {
				t.Errorf("GET /nowhere: %v, want 404", err)
			}
			if err := n.Wipe(); err == nil {
				t.Error("Wipe of a server that runs: no error")
			}
			if err := errors.Join(c.Stop(), n.Wipe()); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(n.Data); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the data of a wiped server: %v, want none", err)
			}
		})
	}
}

// TestNodeEnds has a server that ends by itself, as one does with a flag that it
// does not know.
func TestNodeEnds(t *testing.T) {
	c := newServer(t, false)
	ended := make(chan error, 1)
	c.config.Ended = func(_ *Node, err error) { ended <- err }
	c.Nodes()[0].Flags = []string{"--no-such-flag"}
	if err := c.Start(t.Context()); !errors.Is(err, ErrEnded) || !strings.Contains(err.Error(), "no-such-flag") {
		t.Errorf("Start: %v, want %v and what the server has logged", err, ErrEnded)
	}
	select {
	case err := <-ended:
		if !strings.Contains(err.Error(), "n1 ended by itself") {
			t.Errorf("Config.Ended got %v", err)
		}
	case <-time.After(patience):
		t.Error("Config.Ended was not called")
	}
}
