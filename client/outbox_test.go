package client

import (
	"testing"
	"time"
)

// TestRestoredIsRetry: a message that an earlier process has queued may be one that a process
// before that has sent, however short ago it was queued.
func TestRestoredIsRetry(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		cfg.Store = Memory()
		s.refuse.Store(true)
		c := start(t, cfg)
		if _, err := c.Queue("u:bob", "x", SendOptions{CID: "old", Retry: true}); err != nil {
			t.Fatal(err)
		}
		c.Close()
		<-c.Done()
		s.refuse.Store(false)
		start(t, cfg)
		p, _ := s.login()
		p.sent(p.wantSend("old", true), 1)
	})
}

// TestInternalKeepsOutbox: a fault of the server is no outcome of a message on disk.
func TestInternalKeepsOutbox(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		cfg.Store = Memory()
		c := start(t, cfg)
		p, _ := s.login()
		o, err := c.Queue("u:bob", "x", SendOptions{CID: "one"})
		if err != nil {
			t.Fatal(err)
		}
		p.refuse(p.wantSend("one", false), "internal", 4*time.Second)
		began := time.Now()
		f := p.wantSend("one", false)
		if waited := time.Since(began); waited < 4*time.Second || len(c.Pending()) != 1 {
			t.Errorf("repeated after %v with %d pending, want at least 4s and 1", waited, len(c.Pending()))
		}
		p.sent(f, 1)
		if r, err := o.Wait(t.Context()); err != nil || r.Seq != 1 {
			t.Errorf("Wait = %+v, %v, want seq 1", r, err)
		}
	})
}
