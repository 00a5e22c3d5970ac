package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/belfry-im/belfry/client/store"
	"github.com/belfry-im/belfry/gateway/protocol"
)

// TestCancelNotWritten: Cancel does not say that a message is gone which is on disk still. It
// is listed, and taken out once the disk allows, by itself or by a further Cancel.
func TestCancelNotWritten(t *testing.T) {
	for _, again := range []bool{false, true} {
		inBubble(t, func(t *testing.T, s *server, cfg Config) {
			db := &fullDB{DB: store.Memory()}
			cfg.Store = func() (store.DB, error) { return db, nil }
			var told diary
			cfg.OnSent = func(o Sent) { told.add("%s: %v", o.Result.CID, o.Err) }
			s.refuse.Store(true)
			c := start(t, cfg)
			out := queue(t, c, "a")[0]
			db.full.Store(true)
			for range 2 {
				if out.Cancel() {
					t.Error("Cancel = true while the message is on disk")
				}
			}
			if list := c.Pending(); len(list) != 1 || list[0] != out {
				t.Errorf("pending %v, want the message", list)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if _, err := out.Wait(ctx); !errors.Is(err, ErrQueued) {
				t.Errorf("Wait = %v, want ErrQueued", err)
			}
			db.full.Store(false)
			if again && !out.Cancel() {
				t.Error("Cancel = false, want true once the disk has room")
			}
			if _, err := out.Wait(t.Context()); !errors.Is(err, ErrCanceled) {
				t.Errorf("Wait = %v, want ErrCanceled", err)
			}
			if len(c.Pending()) > 0 {
				t.Error("the canceled message is pending")
			}
			if got, want := told.read(), "a: "+ErrCanceled.Error(); got != want {
				t.Errorf("told %q, want %q", got, want)
			}
			c.Close()
			<-c.Done()
			s.refuse.Store(false)
			start(t, cfg)
			p, _ := s.login()
			p.quiet()
		})
	}
}

// TestClosedBeforeCanceled: a message that could not be taken out of the outbox before the
// client ended is said to be there, and is: the next one sends it.
func TestClosedBeforeCanceled(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		db := &fullDB{DB: store.Memory()}
		cfg.Store = func() (store.DB, error) { return db, nil }
		s.refuse.Store(true)
		c := start(t, cfg)
		out := queue(t, c, "a")[0]
		db.full.Store(true)
		if out.Cancel() {
			t.Error("Cancel = true while the message is on disk")
		}
		c.Close()
		<-c.Done()
		if _, err := out.Wait(t.Context()); !errors.Is(err, ErrClosed) || !errors.Is(err, ErrQueued) {
			t.Errorf("Wait = %v, want ErrClosed and ErrQueued", err)
		}
		db.full.Store(false)
		s.refuse.Store(false)
		start(t, cfg)
		p, _ := s.login()
		p.sent(p.wantSend("a", true), 1)
	})
}

// TestAnswerNotWritten: the outcome of a message that could not be moved to its conversation
// is told once, when it has been, and it is not sent again.
func TestAnswerNotWritten(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		db := &fullDB{DB: store.Memory()}
		cfg.Store = func() (store.DB, error) { return db, nil }
		var told diary
		cfg.OnSent = func(o Sent) { told.add("%s at %d: %v", o.Result.CID, o.Result.Seq, o.Err) }
		c := start(t, cfg)
		p, _ := s.login()
		out := queue(t, c, "a")[0]
		f := p.want("send")
		db.full.Store(true)
		p.sent(f, 1)
		synctest.Wait()
		if got := told.read(); got != "" {
			t.Errorf("told %q before it is in the store", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if r, err := out.Wait(ctx); err != nil || r.Seq != 1 {
			t.Errorf("Wait = %+v, %v, want the answer", r, err)
		}
		db.full.Store(false)
		<-out.call.done
		if got, want := told.read(), "a at 1: <nil>"; got != want {
			t.Errorf("told %q, want %q", got, want)
		}
		if got, want := local(t, c, "u:bob"), "1-1 [1] [] more false"; got != want {
			t.Errorf("local %s, want %s", got, want)
		}
		go func() { p.ok(p.want("logout"), frame{}); p.ws.CloseNow() }()
		c.Close()
		<-c.Done()
		start(t, cfg)
		p, _ = s.login()
		p.quiet()
	})
}

// TestCancelStaleNotWritten: a stale message stays listed until it is off the disk.
func TestCancelStaleNotWritten(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		db := &fullDB{DB: store.Memory()}
		cfg.Store = func() (store.DB, error) { return db, nil }
		c := start(t, cfg)
		p, _ := s.login()
		queue(t, c, "a")
		p.want("send")
		c.Close()
		<-c.Done()
		time.Sleep(maxRepeatAge + time.Hour)
		s.refuse.Store(true)
		c = start(t, cfg)
		list := c.Pending()
		if len(list) != 1 || !list[0].Stale() {
			t.Fatalf("pending %v, want a stale one", list)
		}
		db.full.Store(true)
		list[0].Cancel()
		if len(c.Pending()) != 1 {
			t.Error("the message is on disk and not listed")
		}
		db.full.Store(false)
		list[0].Cancel()
		if len(c.Pending()) != 0 {
			t.Error("the canceled message is listed")
		}
		if _, err := list[0].Wait(t.Context()); !errors.Is(err, ErrCanceled) {
			t.Errorf("Wait = %v, want ErrCanceled", err)
		}
	})
}

// TestStaleBounded: of more than maxLeftAlone stale messages the oldest are dropped, once the
// disk takes it, and OnSent is told.
func TestStaleBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		const more = 3
		db := &fullDB{DB: store.Memory()}
		cfg.Store = func() (store.DB, error) { return db, nil }
		disk, err := store.Open(db, "belfry.test", cfg.Device, nil)
		if err != nil {
			t.Fatal(err)
		}
		err = disk.Update(func(tx *store.Tx) {
			for n := uint64(1); n <= maxLeftAlone+more; n++ {
				tx.AddOutgoing(&store.Outgoing{
					N: n, Conv: protocol.UserConv("bob"), CID: fmt.Sprint(n), Body: []byte{0xc0}, Queued: time.Now().UnixMilli(),
				})
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := db.SetMark(store.MarkWritten, maxLeftAlone+more); err != nil {
			t.Fatal(err)
		}
		time.Sleep(maxRepeatAge + time.Hour)
		var told []string
		cfg.OnSent = func(r Sent) { told = append(told, fmt.Sprint(r.Result.CID, " ", r.Err)) }
		for _, full := range []bool{true, false, false} {
			db.full.Store(full)
			c := start(t, cfg)
			p, _ := s.login()
			synctest.Wait()
			first, length := uint64(more+1), maxLeftAlone
			if full {
				first, length = 1, maxLeftAlone+more
			}
			if list := c.Pending(); len(list) != length || list[0].call.entry != first {
				t.Errorf("full %t: %d pending from %d on, want %d from %d on", full, len(list), list[0].call.entry, length, first)
			}
			p.ws.CloseNow()
			c.Close()
			<-c.Done()
		}
		if want := []string{"1 client: outcome unknown", "2 client: outcome unknown", "3 client: outcome unknown"}; !slices.Equal(told, want) {
			t.Errorf("told %q, want %q", told, want)
		}
	})
}

// TestAnsweredBeforeReset: a message that was sent before a reset goes with it, whether it got
// its place in the conversation before or after; one of the same session stays.
func TestAnsweredBeforeReset(t *testing.T) {
	for _, late := range []bool{false, true} {
		inBubble(t, func(t *testing.T, s *server, cfg Config) {
			db := &slowDB{DB: store.Memory(), begin: make(chan struct{})}
			cfg.Store = func() (store.DB, error) { return db, nil }
			c := start(t, cfg)
			p, _ := s.login()
			p.push("onSynced", frame{"cursor": "synced"})
			synctest.Wait()
			queue(t, c, "a")
			f := p.want("send")
			db.slow.Store(true)
			p.sent(f, 1)
			synctest.Wait()
			p.ws.CloseNow()
			p, _ = s.login()
			reset := frame{"cursor": "new", "reset": true}
			if late {
				p.push("onSynced", reset) // shares the next transaction with the answer, or comes behind
			}
			synctest.Wait()
			db.slow.Store(false)
			close(db.begin)
			synctest.Wait()
			if !late {
				p.push("onSynced", reset)
				synctest.Wait()
			}
			if got, want := local(t, c, "u:bob"), "0-0 [] [] more false"; got != want {
				t.Errorf("late %t: local %s, want %s", late, got, want)
			}
			queue(t, c, "b")
			p.sent(p.want("send"), 1)
			synctest.Wait()
			if got, want := local(t, c, "u:bob"), "1-1 [1] [] more false"; got != want {
				t.Errorf("late %t: local %s, want %s", late, got, want)
			}
		})
	}
}
