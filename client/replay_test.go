package client

import (
	"errors"
	"fmt"
	"iter"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/belfry-im/belfry/client/store"
	"github.com/belfry-im/belfry/gateway/protocol"
)

// TestInterrupted: what was committed and not handled is handed over first, and what was
// being handled goes to OnInterrupted.
func TestInterrupted(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		cfg.Store = Memory()
		var told diary
		hang := make(chan struct{})
		cfg.OnMessages = func(list []Message) {
			told.messages(list)
			<-hang
		}
		start(t, cfg)
		p, _ := s.login()
		p.messages(1, "at 1", 1)
		if got := told.read(); got != "1" {
			t.Fatalf("told %s, want 1", got)
		}
		db, _ := cfg.Store()
		dead := copyOf(db) // the disk at the moment of a kill
		p.messages(2, "at 2", 2)
		p.messages(3, "at 3", 3)
		synctest.Wait()
		close(hang)
		if got := told.read(); got != "1 2 3" {
			t.Fatalf("told %s, want 1 2 3", got)
		}

		for _, separate := range []bool{true, false} {
			var again diary
			cfg.Store = func() (store.DB, error) { return copyOf(dead), nil }
			cfg.OnMessages = again.messages
			cfg.OnInterrupted = nil
			want := "1 2"
			if separate {
				cfg.OnInterrupted = func(list []Message) { again.add("maybe %d", list[0].Seq) }
				want = "maybe 1 2"
			}
			start(t, cfg)
			p, login := s.login()
			if login["since"] != "at 1" {
				t.Errorf("since %v, want at 1", login["since"])
			}
			p.messages(1, "at 2", 1, 2)
			if got := again.read(); got != want {
				t.Errorf("told %s, want %s", got, want)
			}
		}
	})
}

// copyOf returns a store with the content of another.
func copyOf(db store.DB) store.DB {
	to := store.Memory()
	db.View(func(from store.KV) error {
		return to.Update(func(kv store.KV) error {
			for k, v := range from.Scan(nil, []byte{0xff}, false) {
				kv.Put(k, v)
			}
			return nil
		})
	})
	for m, n := range db.Marks() {
		to.SetMark(store.Mark(m), n)
	}
	return to
}

// TestKilledAfterReset: what came in the session of a reset and is not handled when the process
// ends is handed over by the next one.
func TestKilledAfterReset(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		db := store.Memory()
		cfg.Store = func() (store.DB, error) { return db, nil }
		var dead store.DB // the disk at the moment of a kill
		turn := make(chan struct{})
		cfg.OnMessages = func(list []Message) {
			switch list[0].Seq {
			case 1:
				<-turn
			case 3:
				dead = copyOf(db)
			}
		}
		start(t, cfg)
		p, _ := s.login()
		p.messages(1, "at 1", 1)
		synctest.Wait()
		p.ws.CloseNow()
		p, _ = s.login() // 1 is in its handler, and stays there
		p.messages(1, "at 3", 3)
		p.messages(2, "at 4", 4)
		p.push("onSynced", frame{"cursor": "synced", "reset": true})
		synctest.Wait()
		close(turn)
		synctest.Wait()

		var again diary
		cfg.Store = func() (store.DB, error) { return dead, nil }
		cfg.OnMessages = again.messages
		start(t, cfg)
		p, _ = s.login()
		p.messages(1, "at 4", 3, 4)
		if got := again.read(); got != "3 4" {
			t.Errorf("told %q, want 3 4", got)
		}
	})
}

// TestDeliveriesNotRead: a client that cannot read what is left to handle does not begin, and
// a later one handles it.
func TestDeliveriesNotRead(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		db := &unreadDB{DB: store.Memory()}
		cfg.Store = func() (store.DB, error) { return db, nil }
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
		if err != nil {
			t.Fatal(err)
		}
		var told diary
		cfg.OnMessages = told.messages
		db.bad.Store(true)
		if c, err := New(cfg); !errors.Is(err, errUnread) {
			t.Errorf("New = %v, want why", err)
			if err == nil {
				c.Close()
				<-c.Done()
			}
		}
		db.bad.Store(false)
		start(t, cfg)
		synctest.Wait()
		if got := told.read(); got != "1" {
			t.Errorf("told %q, want 1", got)
		}
	})
}

var errUnread = errors.New("input/output error")

// An unreadDB finds no deliveries while bad is set, but fails.
type unreadDB struct {
	store.DB
	bad atomic.Bool
}

func (d *unreadDB) View(f func(store.KV) error) error {
	return d.DB.View(func(kv store.KV) error {
		looked := &scanned{KV: kv}
		if err := f(looked); err != nil || !looked.deliveries || !d.bad.Load() {
			return err
		}
		return errUnread
	})
}

// A scanned notes whether the deliveries were looked at.
type scanned struct {
	store.KV
	deliveries bool
}

func (s *scanned) Scan(from, to []byte, descending bool) iter.Seq2[[]byte, []byte] {
	s.deliveries = s.deliveries || from[0] == 'i'
	return s.KV.Scan(from, to, descending)
}

// TestCloseInABurst: what has come and is not handled when the client closes is handled by
// the next one, whether it was stored or not.
func TestCloseInABurst(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		cfg.Store = Memory()
		var told diary
		var c *Client
		begun := make(chan struct{})
		cfg.OnMessages = func(list []Message) {
			told.messages(list)
			if list[0].Seq == 1 {
				<-begun // until more has come
			} else {
				c.Close()
			}
		}
		c = start(t, cfg)
		p, _ := s.login()
		for d := 1; d <= 5; d++ {
			p.messages(d, fmt.Sprint("at ", d), d)
		}
		synctest.Wait()
		close(begun)
		<-c.Done()
		if got := told.read(); got != "1 2" {
			t.Errorf("told %s, want 1 2", got)
		}
		cfg.OnMessages = told.messages
		start(t, cfg)
		p, _ = s.login()
		p.messages(1, "at 5", 2, 3, 4, 5) // what was not stored before comes again
		p.want("ack")
		if got := told.read(); got != "1 2 3 4 5" {
			t.Errorf("told %s, want 1 2 3 4 5", got)
		}
	})
}
