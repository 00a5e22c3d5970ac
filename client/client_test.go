package client

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/belfry-im/belfry/client/store"
	"github.com/belfry-im/belfry/gateway/protocol"
)

// start runs a client until the end of the test, which fails if it leaves a
// goroutine behind.
func start(t *testing.T, cfg Config) *Client {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		<-c.Done()
	})
	return c
}

// A diary writes down what handlers are told.
type diary struct {
	mu   sync.Mutex
	told []string
}

func (d *diary) add(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.told = append(d.told, fmt.Sprintf(format, args...))
}

// read gives the entries so far, once nothing moves any more.
func (d *diary) read() string {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.told, " ")
}

// messages writes down the seqs of messages.
func (d *diary) messages(list []Message) {
	for _, m := range list {
		d.add("%d", m.Seq)
	}
}

func TestLogin(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		cfg.Platform = "web"
		go s.login()
		c, err := Dial(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if c.User() != "alice" || c.State() != StateOnline {
			t.Errorf("user %q, state %v, want alice, online", c.User(), c.State())
		}
		if l := c.Limits(); l.MaxBody != 12<<10 || l.MaxFrame != 64<<10 || l.Window != 256 || l.IdleMS != 60000 {
			t.Errorf("limits %+v, want those of the login", l)
		}
	})
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		cfg.ManualRead, cfg.Recents = true, protocol.RecentsQuiet
		cfg.Resume = Cursor{Since: "here", Groups: []protocol.GroupCursor{{Group: "team", Cursor: "there"}}}
		c := start(t, cfg)
		if l := c.Limits(); l != (Limits{}) {
			t.Errorf("limits %+v before the login", l)
		}
		_, login := s.login()
		want := map[string]string{
			"token": "a token", "device": "phone", "since": "here", "groups": "map[team:there]",
			"autoRead": "false", "recents": "quiet",
		}
		for key, value := range want {
			if got := fmt.Sprint(login[key]); got != value {
				t.Errorf("%s = %s, want %s", key, got, value)
			}
		}
	})
}

func TestDialGivesUpWithContext(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		s.refuse.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := Dial(ctx, cfg)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("Dial = %v, want deadline exceeded and why", err)
		}
	})
}

// TestDialAndHandler: Dial gives up although a handler waits for it, and otherwise leaves the file
// of the store free.
func TestDialAndHandler(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		path := filepath.Join(t.TempDir(), "alice.db")
		cfg.Store = File(path)
		leaveUnhandled(t, path)
		dialed := make(chan struct{})
		cfg.OnMessages = func([]Message) { <-dialed }
		dial := func(want error) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			got := make(chan error, 1)
			go func() {
				_, err := Dial(ctx, cfg)
				got <- err
			}()
			select {
			case err := <-got:
				if !errors.Is(err, want) {
					t.Errorf("Dial = %v, want %v", err, want)
				}
			case <-time.After(time.Hour):
				t.Error("Dial has not returned an hour after its context ended")
			}
		}
		s.refuse.Store(true)
		dial(context.DeadlineExceeded)
		close(dialed)
		synctest.Wait()
		s.refuse.Store(false)
		go func() {
			p := s.next()
			p.refuse(p.want("login"), protocol.CodeUnauthorized, 0)
		}()
		dial(ErrUnauthorized)
		s.refuse.Store(true)
		dial(context.DeadlineExceeded)
		dial(context.DeadlineExceeded) // not ErrStoreLocked
	})
}

// leaveUnhandled makes a store with a message that no handler was given.
func leaveUnhandled(t *testing.T, path string) {
	t.Helper()
	db, err := store.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(db, "belfry.test", "phone", nil)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := protocol.EncodeBody("x")
	m := Message{ID: protocol.ID{1}, Conv: protocol.UserConv("bob"), From: "bob", Seq: 1, Time: 1, Body: body}
	err = st.Update(func(tx *store.Tx) {
		tx.Receive(&m, "alice", 1, false)
		tx.AddDelivery([]store.Ref{{Conv: m.Conv, From: 1, To: 1}})
	})
	if err := errors.Join(err, st.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestClose(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		cfg.OnMessages = func([]Message) {}
		c := start(t, cfg)
		p, _ := s.login()
		p.messages(1, "one", 1)
		p.want("ack")
		out, err := c.Queue("u:bob", "hi", SendOptions{})
		if err != nil {
			t.Fatal(err)
		}
		p.want("send")
		go func() {
			p.ok(p.want("logout"), frame{})
			p.ws.Close(protocol.CloseNormal, "")
		}()
		began := time.Now()
		c.Close()
		if took := time.Since(began); took != 0 {
			t.Errorf("Close took %v of a server that answers", took)
		}
		if _, err := out.Wait(t.Context()); !errors.Is(err, ErrClosed) || !errors.Is(err, ErrUnknown) {
			t.Errorf("send = %v, want closed and unknown", err)
		}
		if !errors.Is(c.Err(), ErrClosed) || c.State() != StateClosed {
			t.Errorf("state %v, Err %v, want closed", c.State(), c.Err())
		}
	})
	t.Run("server hangs", func(t *testing.T) {
		inBubble(t, func(t *testing.T, s *server, cfg Config) {
			c := start(t, cfg)
			s.login()
			began := time.Now()
			c.Close()
			if took := time.Since(began); took > logoutTime {
				t.Errorf("Close took %v, want at most %v", took, logoutTime)
			}
		})
	})
	t.Run("from a handler", func(t *testing.T) {
		inBubble(t, func(t *testing.T, s *server, cfg Config) {
			var c *Client
			cfg.OnMessages = func([]Message) { c.Close() }
			c = start(t, cfg)
			p, _ := s.login()
			p.messages(1, "", 1)
			<-c.Done()
		})
	})
	t.Run("while there is no connection", func(t *testing.T) {
		inBubble(t, func(t *testing.T, s *server, cfg Config) {
			s.refuse.Store(true)
			c := start(t, cfg)
			out, err := c.Queue("u:bob", "hi", SendOptions{})
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
			if _, err := out.Wait(t.Context()); !errors.Is(err, ErrClosed) || errors.Is(err, ErrUnknown) {
				t.Errorf("send = %v, want closed, and known not to be sent", err)
			}
		})
	})
}

func TestConfig(t *testing.T) {
	good := Config{URL: "http://host", Device: "phone", Token: func(context.Context, TokenReason) (string, error) { return "", nil }}
	for field, spoil := range map[string]func(*Config){
		"URL":           func(c *Config) { c.URL = "ftp://host" },
		"MoreURLs":      func(c *Config) { c.MoreURLs = []string{"http://host", "http://"} },
		"Token":         func(c *Config) { c.Token = nil },
		"Device":        func(c *Config) { c.Device = "" },
		"Service":       func(c *Config) { c.Service = "\xff" },
		"Platform":      func(c *Config) { c.Platform = strings.Repeat("x", 65) },
		"Recents":       func(c *Config) { c.Recents = "some" },
		"Resume":        func(c *Config) { c.Resume.Groups = make([]protocol.GroupCursor, 201) },
		"QueueMessages": func(c *Config) { c.QueueMessages = -1 },
		"MaxBackoff":    func(c *Config) { c.MaxBackoff = -1 },
	} {
		cfg := good
		spoil(&cfg)
		_, err := New(cfg)
		if wrong, ok := errors.AsType[*FieldError](err); !ok || wrong.Field != field {
			t.Errorf("%s: New = %v, want it named", field, err)
		}
	}
	for device, says := range map[string]string{"": "give Device or Store", strings.Repeat("x", 65): "64 bytes", "\xff": "UTF-8"} {
		cfg := good
		cfg.Device = device
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("Device %q: New = %v, want %q in it", device, err, says)
		}
	}
	for url, want := range map[string]string{
		"http://host:8080": "http://host:8080/v1/ws", "wss://host/": "wss://host/v1/ws", "ws://host/chat": "ws://host/chat",
	} {
		cfg := good
		cfg.URL = url
		cfg, err := cfg.withDefaults()
		if err != nil || cfg.URL != want {
			t.Errorf("URL %s = %s, %v, want %s", url, cfg.URL, err, want)
		}
	}
}
