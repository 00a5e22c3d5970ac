package client

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/belfry-im/belfry/client/store"
	"github.com/belfry-im/belfry/gateway/protocol"
)

// local describes what the store has of a conversation.
func local(t *testing.T, c *Client, conv string) string {
	t.Helper()
	p, err := c.LocalMessages(conv, Query{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	return describe(p)
}

// TestStoreSurvives: a second client with the store goes on with cursor, messages and device;
// what it has is not shown again.
func TestStoreSurvives(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		cfg.Store, cfg.Device = Memory(), ""
		var told diary
		cfg.OnMessages = told.messages
		c := start(t, cfg)
		p, login := s.login()
		device := login["device"]
		if device == "" || login["since"] != nil {
			t.Errorf("login %v, want a device made up and no cursor", login)
		}
		p.messages(1, "at 2", 1, 2)
		p.want("ack")
		p.push("onSynced", frame{"cursor": "synced", "conversations": []any{
			frame{"conv": "u:bob", "lastSeq": 2, "time": 1795400000002, "readSeq": 0, "peerReadSeq": 1, "pinned": true},
			frame{"conv": "g:team", "lastSeq": 7, "time": 1, "readSeq": 5, "unread": 2, "cursor": "team at 7"},
		}})
		synctest.Wait()
		go func() {
			p.ok(p.want("logout"), frame{})
			p.ws.Close(protocol.CloseNormal, "")
		}()
		c.Close()
		<-c.Done()

		s.refuse.Store(true) // no network at all
		c = start(t, cfg)
		if c.User() != "alice" {
			t.Errorf("user %q, want alice", c.User())
		}
		if got, want := local(t, c, "u:bob"), "1-2 [1 2] [] more false"; got != want {
			t.Errorf("local %s, want %s", got, want)
		}
		list, err := c.Conversations(0, 0)
		if err != nil || len(list.List) != 2 || list.Unread != 2 {
			t.Fatalf("Conversations = %+v, %v, want two, 2 unread", list, err)
		}
		if e := list.List[0]; e.Conv.ID != "bob" || !e.Pinned || e.PeerReadSeq != 1 || e.Last == nil || e.Last.Seq != 2 {
			t.Errorf("entry %+v, want bob's, pinned, with its last message", e)
		}
		s.refuse.Store(false)
		p, login = s.login()
		if login["since"] != "synced" || fmt.Sprint(login["groups"]) != "map[team:team at 7]" || login["device"] != device {
			t.Errorf("login %v, want the cursors and the device of before", login)
		}
		p.messages(1, "at 3", 2, 3)
		if got := told.read(); got != "1 2 3" {
			t.Errorf("told %s, want 1 2 3", got)
		}
	})
}

// TestChangesAreStored applies what happens elsewhere to the store.
func TestChangesAreStored(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		cfg.Store, cfg.ManualRead = Memory(), true
		c := start(t, cfg)
		p, _ := s.login()
		p.messages(1, "", 1, 2, 3, 4, 5)
		p.push("onRecall", frame{"conv": "u:bob", "ranges": []any{[]any{5, 5}}, "by": "bob"})
		p.push("onMessageDeleted", frame{"conv": "u:bob", "seqs": []any{2}})
		p.push("onReadReport", frame{"conv": "u:bob", "seq": 3})
		p.push("onReadReceipt", frame{"conv": "u:bob", "seq": 1, "time": 5})
		p.push("onConversationChanged", frame{"conv": "u:bob", "muted": true, "pinned": false, "unread": true})
		synctest.Wait()
		if got, want := local(t, c, "u:bob"), "1-5 [1 3 4] [{2 2 deleted} {5 5 recalled}] more false"; got != want {
			t.Errorf("local %s, want %s", got, want)
		}
		list, _ := c.Conversations(0, 0)
		if e := list.List[0]; e.Unread != 1 || e.ReadSeq != 3 || e.PeerReadSeq != 1 || !e.Muted || !e.Marked || e.LastSeq != 4 || e.Last == nil {
			t.Errorf("entry %+v", e)
		}
		p.push("onConversationDeleted", frame{"conv": "u:bob", "messages": true, "upTo": 5})
		synctest.Wait()
		if list, _ := c.Conversations(0, 0); len(list.List) != 0 {
			t.Errorf("list %+v, want none", list.List)
		}
		p.messages(2, "", 3, 6) // 3 was on its way when it was deleted
		synctest.Wait()
		if got, want := local(t, c, "u:bob"), "1-6 [6] [{1 5 deleted}] more false"; got != want {
			t.Errorf("local %s, want %s", got, want)
		}
	})
}

// TestUncounted: a group that counts no unread counts none, as long as it is set so, in later
// sessions too.
func TestUncounted(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		cfg.Store = Memory()
		c := start(t, cfg)
		unread := func(want int) {
			t.Helper()
			synctest.Wait()
			list, err := c.Conversations(0, 0)
			if err != nil || len(list.List) != 1 || list.List[0].Unread != want {
				t.Errorf("Conversations = %+v, %v, want %d unread", list, err, want)
			}
		}
		p, _ := s.login()
		said := func(d, seq int) {
			m := message(seq)
			m["conv"] = "g:hall"
			p.push("onNewMessage", frame{"d": d, "messages": []any{m}})
		}
		event := func(of frame) {
			of["group"], of["by"], of["time"] = "hall", "bob", 5
			p.push("onGroupEvent", of)
		}
		p.push("onSynced", frame{"cursor": "synced"})
		event(frame{"event": "joined", "users": []any{"alice"}, "cursor": "h0", "counts": false})
		said(1, 1)
		unread(0)
		p.ws.CloseNow()
		p, _ = s.login()
		p.push("onSynced", frame{"cursor": "synced"})
		said(1, 2)
		event(frame{"event": "roleChanged", "users": []any{"bob"}})
		said(2, 3)
		unread(0)
		event(frame{"event": "changed"}) // it counts now: what is above the read cursor
		unread(3)
		said(3, 4)
		unread(4)
		event(frame{"event": "changed", "counts": false})
		unread(0)
		said(4, 5)
		unread(0)
		p.ws.CloseNow()
		p, _ = s.login() // what a login says of it holds, whatever was known before
		p.push("onSynced", frame{"cursor": "synced", "groups": []any{frame{"conv": "g:hall", "lastSeq": 5, "time": 1, "readSeq": 0, "unread": 5}}})
		said(1, 6)
		unread(6)
	})
}

// A fullDB cannot be written while full is set.
type fullDB struct {
	store.DB
	full atomic.Bool
}

var errFull = errors.New("no space left on device")

func (d *fullDB) Update(f func(store.KV) error) error {
	if d.full.Load() {
		return &StoreError{Path: "the file", Err: errFull}
	}
	return d.DB.Update(f)
}

// TestStoreFull: what cannot be stored is neither handled nor acknowledged, nor sent, and
// comes again once there is room.
func TestStoreFull(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		db := &fullDB{DB: store.Memory()}
		var told diary
		cfg.Store = func() (store.DB, error) { return db, nil }
		cfg.OnMessages = told.messages
		c := start(t, cfg)
		p, _ := s.login()
		p.messages(1, "at 1", 1)
		p.want("ack")
		db.full.Store(true)
		p.messages(2, "at 2", 2)
		p.messages(3, "at 3", 3)
		if f, ok := <-p.frames; ok {
			t.Errorf("frame %v, want the connection to end", f)
		}
		synctest.Wait()
		if !errors.Is(c.Err(), errFull) {
			t.Errorf("Err = %v, want why", c.Err())
		}
		if _, err := c.Queue("u:bob", "x", SendOptions{}); !errors.Is(err, errFull) || len(c.Pending()) > 0 {
			t.Errorf("Queue = %v, %d pending, want an error and none", err, len(c.Pending()))
		}
		db.full.Store(false)
		p, login := s.login()
		if login["since"] != "at 1" {
			t.Errorf("since %v, want at 1", login["since"])
		}
		p.messages(1, "at 3", 2, 3)
		p.want("ack")
		if got := told.read(); got != "1 2 3" {
			t.Errorf("told %s, want 1 2 3", got)
		}
	})
}

func TestStoreRefusals(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		path := filepath.Join(t.TempDir(), "alice.db")
		cfg.Store = File(path)
		c := start(t, cfg)
		s.login()
		synctest.Wait()
		start := func(cfg Config) (*Client, error) {
			c, err := New(cfg)
			if err == nil {
				c.Close()
				<-c.Done()
			}
			return c, err
		}
		refused := func(what string, err, want error) {
			t.Helper()
			if _, ok := errors.AsType[*StoreError](err); !ok || !errors.Is(err, want) || !strings.Contains(err.Error(), path) {
				t.Errorf("%s: %v, want %v with the path", what, err, want)
			}
		}
		_, err := start(cfg)
		refused("in use", err, ErrStoreLocked)
		c.Close()
		<-c.Done()

		elsewhere := cfg
		elsewhere.Service = "other.test"
		_, err = start(elsewhere)
		refused("other service", err, ErrStoreForeign)

		c, err = New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		p := s.next()
		p.ok(p.want("login"), frame{"user": "eve", "session": 1, "serverTime": 1, "protocol": 1,
			"limits": frame{"maxBody": 1, "maxFrame": 1, "window": 1, "idleMs": 1}})
		<-c.Done()
		refused("other user", c.Err(), ErrStoreForeign)

		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for name, broken := range map[string][]byte{
			"garbage": []byte(strings.Repeat("no store at all ", 1000)), "cut": data[:3*os.Getpagesize()], "short": data[:100],
		} {
			if err := os.WriteFile(path, broken, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err = start(cfg)
			refused(name, err, ErrStoreCorrupt)
		}
	})
}
