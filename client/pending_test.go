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

// TestOutboxOnDisk: sends made offline, and unanswered ones, go out once and in order with the
// next client, with the cids that they had.
func TestOutboxOnDisk(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		cfg.Store = Memory()
		c := start(t, cfg)
		p, _ := s.login()
		var queued []*Outgoing
		for i := range 3 {
			out, err := c.Queue("u:bob", fmt.Sprint(i), SendOptions{})
			if err != nil {
				t.Fatal(err)
			}
			queued = append(queued, out)
		}
		p.want("send") // and no answer
		synctest.Wait()
		go func() {
			p.ok(p.want("logout"), frame{})
			p.ws.Close(protocol.CloseNormal, "")
		}()
		c.Close()
		<-c.Done()
		if _, err := queued[0].Wait(t.Context()); !errors.Is(err, ErrQueued) || !errors.Is(err, ErrClosed) {
			t.Errorf("Wait = %v, want queued and closed", err)
		}

		time.Sleep(time.Hour) // past what the server recognizes by itself
		var told diary
		cfg.OnSent = func(e Sent) { told.add("%s:%d:%v", e.Result.CID, e.Result.Seq, e.Err) }
		s.refuse.Store(true)
		c = start(t, cfg)
		fourth, err := c.Queue("u:bob", "3", SendOptions{})
		if err != nil {
			t.Fatal(err)
		}
		pending := c.Pending()
		if len(pending) != 4 || pending[1].CID() != queued[1].CID() || pending[1].Conv() != "u:bob" {
			t.Fatalf("%d pending, want the four in order", len(pending))
		}
		if unsent := pending[1].Cancel(); !unsent {
			t.Error("Cancel of what was never written = false")
		}
		s.refuse.Store(false)
		p, _ = s.login()
		for i, want := range []*Outgoing{queued[0], queued[2], fourth} {
			f := p.want("send")
			if got := args(f); got["cid"] != want.CID() || (got["retry"] == true) != (want != fourth) {
				t.Errorf("send %d = %v, want cid %s, retry %t", i, got, want.CID(), want != fourth)
			}
			p.sent(f, i+1)
		}
		want := fmt.Sprintf("%s:0:%v %s:1:<nil> %s:2:<nil> %s:3:<nil>",
			queued[1].CID(), ErrCanceled, queued[0].CID(), queued[2].CID(), fourth.CID())
		if got := told.read(); got != want {
			t.Errorf("told %s, want %s", got, want)
		}
		if n := len(c.Pending()); n != 0 {
			t.Errorf("%d pending after all answers", n)
		}
		if got, want := local(t, c, "u:bob"), "1-3 [1 2 3] [] more false"; got != want {
			t.Errorf("local %s, want %s", got, want)
		}
	})
}

// A message whose answer was lost with the process comes back by push: it is no news, and
// is not sent again.
func TestOutboxSettledByPush(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		cfg.Store = Memory()
		var told diary
		cfg.OnMessages = told.messages
		s.refuse.Store(true)
		c := start(t, cfg)
		if _, err := c.Queue("u:bob", frame{"text": "m1"}, SendOptions{CID: "c1"}); err != nil {
			t.Fatal(err)
		}
		c.Close()
		<-c.Done()
		s.refuse.Store(false)
		c = start(t, cfg)
		p := s.next()
		f := p.want("login")
		m := message(1)
		m["from"] = "alice"
		p.ok(f, frame{"user": "alice", "session": 1, "serverTime": time.Now().UnixMilli(), "protocol": 1,
			"limits": frame{"maxBody": 12 << 10, "maxFrame": 64 << 10, "window": 256, "idleMs": 60000}})
		p.want("send")
		p.push("onNewMessage", frame{"d": 1, "cursor": "at 1", "messages": []any{m}})
		synctest.Wait()
		p.ws.CloseNow()
		p, _ = s.login()
		synctest.Wait()
		p.quiet()
		if got := told.read(); got != "" || len(c.Pending()) != 0 {
			t.Errorf("told %q, %d pending, want neither", got, len(c.Pending()))
		}
		if got, want := local(t, c, "u:bob"), "1-1 [1] [] more false"; got != want {
			t.Errorf("local %s, want %s", got, want)
		}
	})
}

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
