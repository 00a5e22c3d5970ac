package client

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/belfry-im/belfry/client/store"
)

func TestDisableStorage(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		cfg.Store = Memory()
		var told diary
		cfg.OnMessages = told.messages
		c := start(t, cfg)
		p, _ := s.login()
		p.messages(1, "at 1", 1)
		p.want("ack")
		if err := c.DisableStorage("u:bob"); err != nil {
			t.Fatal(err)
		}
		p.messages(2, "at 2", 2, 2)
		if got := told.read(); got != "1 2" {
			t.Errorf("told %s, want 1 2", got)
		}
		if _, err := c.LocalMessages("u:bob", Query{}); !errors.Is(err, ErrNoStore) {
			t.Errorf("LocalMessages = %v, want ErrNoStore", err)
		}
		if found, err := c.SearchLocal(Search{Text: "m"}); err != nil || len(found) > 0 {
			t.Errorf("found %v, %v, want nothing", found, err)
		}
		if out, err := c.Queue("u:bob", "x", SendOptions{}); err != nil || len(c.Pending()) != 0 {
			t.Errorf("Queue = %v, %v; on disk %d, want none", out, err, len(c.Pending()))
		}
	})
}

// TestDisabledAndNotWritten: a frame of a conversation that is not stored, which could not be
// written for its cursor, is handled when it comes again.
func TestDisabledAndNotWritten(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		db := &lateDB{DB: store.Memory()}
		cfg.Store = func() (store.DB, error) { return db, nil }
		var told diary
		cfg.OnMessages = told.messages
		c := start(t, cfg)
		p, _ := s.login()
		synctest.Wait()
		if err := c.DisableStorage("u:bob"); err != nil {
			t.Fatal(err)
		}
		db.full.Store(true)
		p.messages(1, "at 1", 1)
		synctest.Wait()
		db.full.Store(false)
		p, _ = s.login()
		p.messages(1, "at 1", 1, 1)
		p.messages(2, "at 1", 1)
		p.want("ack")
		if got := told.read(); got != "1" {
			t.Errorf("told %q, want 1", got)
		}
	})
}

// A lateDB notices only at the end of a transaction that it is full.
type lateDB struct {
	store.DB
	full atomic.Bool
}

func (d *lateDB) Update(f func(store.KV) error) error {
	return d.DB.Update(func(kv store.KV) error {
		if err := f(kv); err != nil || !d.full.Load() {
			return err
		}
		return errFull
	})
}

// TestHandledThenDisabled: a message that was handled is not passed again if its ack is lost
// and its conversation is stored no more, or again.
func TestHandledThenDisabled(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		cfg.Store = Memory()
		var told diary
		cfg.OnMessages = told.messages
		c := start(t, cfg)
		p, _ := s.login()
		p.messages(1, "", 1)
		p.want("ack")
		for _, set := range []func(string) error{c.DisableStorage, c.EnableStorage} {
			if err := set("u:bob"); err != nil {
				t.Fatal(err)
			}
			p.ws.CloseNow()
			p, _ = s.login()
			p.messages(1, "", 1)
			p.want("ack")
		}
		if got := told.read(); got != "1" {
			t.Errorf("told %q, want 1 once", got)
		}
	})
}

// TestDisabledWhileAsking: a page that is being fetched when its conversation is stored no more is
// not stored, and the caller gets it all the same.
func TestDisabledWhileAsking(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		cfg.Store = Memory()
		c := start(t, cfg)
		p, _ := s.login()
		p.push("onSynced", frame{"cursor": "synced"})
		synctest.Wait()
		got := make(chan string, 1)
		go func() {
			page, err := c.Messages(t.Context(), "u:bob", Query{})
			got <- fmt.Sprint(describe(page), " ", err)
		}()
		f := p.want("getMessage")
		if err := c.DisableStorage("u:bob"); err != nil {
			t.Fatal(err)
		}
		answer := frame{"messages": []any{message(1)}, "from": 1, "to": 1}
		p.ok(f, answer)
		p.ok(p.want("getMessage"), answer)
		if page, want := <-got, "1-1 [1] [] more false <nil>"; page != want {
			t.Errorf("page %s, want %s", page, want)
		}
		if found, err := c.SearchLocal(Search{Text: "m1"}); err != nil || len(found) > 0 {
			t.Errorf("found %v, %v, want nothing", found, err)
		}
	})
}
