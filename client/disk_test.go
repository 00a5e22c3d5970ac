package client

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

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

// TestReset: data of another epoch go, what came in this session stays.
func TestReset(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		cfg.Store = Memory()
		var told diary
		cfg.OnMessages = told.messages
		c := start(t, cfg)
		p, _ := s.login()
		p.messages(1, "at 3", 1, 2, 3)
		p.want("ack")
		p.ws.CloseNow()
		p, _ = s.login()
		other := message(3)
		other["id"] = ulidOf(33)
		p.push("onNewMessage", frame{"d": 1, "messages": []any{other}})
		p.push("onSynced", frame{"cursor": "new epoch", "reset": true, "lost": []any{frame{"conv": "u:bob", "from": 1, "to": 1, "count": 1}},
			"conversations": []any{frame{"conv": "u:bob", "lastSeq": 3, "time": 1, "readSeq": 0}}})
		if got := told.read(); got != "1 2 3 3" {
			t.Errorf("told %s, want 1 2 3, and the other 3", got)
		}
		if got, want := local(t, c, "u:bob"), "1-3 [3] [{1 1 lost} {2 2 unknown}] more false"; got != want {
			t.Errorf("local %s, want %s", got, want)
		}
		if c.Cursor().Since != "new epoch" {
			t.Errorf("cursor %+v, want the new one", c.Cursor())
		}
	})
}

// TestResetGroups: a refused cursor of one group costs that group alone, but for what came in
// this session.
func TestResetGroups(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		cfg.Store = Memory()
		var told diary
		cfg.OnMessages = told.messages
		c := start(t, cfg)
		in := func(conv string, seq int) frame {
			m := message(seq)
			m["conv"], m["id"] = conv, ulidOf(seq+100*len(conv))
			return m
		}
		p, _ := s.login()
		p.push("onNewMessage", frame{"d": 1, "cursor": "c1", "groupCursors": frame{"team": "bad", "all": "good"}, "messages": []any{
			message(1), in("g:team", 1), in("g:team", 2), in("g:all", 1),
		}})
		p.want("ack")
		p.ws.CloseNow()
		p, _ = s.login()
		p.push("onNewMessage", frame{"d": 1, "cursor": "c2", "groupCursors": frame{"all": "all2"}, "messages": []any{
			message(2), in("g:team", 2), in("g:team", 3), in("g:all", 2),
		}})
		p.push("onSynced", frame{"cursor": "c3", "reset": true, "resetGroups": []any{"team"}, "groups": []any{
			frame{"conv": "g:team", "lastSeq": 3, "time": 1, "readSeq": 0, "unread": 3, "cursor": "new"},
		}})
		synctest.Wait()
		if got := told.read(); got != "1 1 2 1 2 3 2" {
			t.Errorf("told %s, want each message once", got)
		}
		for conv, want := range map[string]string{
			"u:bob": "1-2 [1 2] [] more false", "g:all": "1-2 [1 2] [] more false", "g:team": "1-3 [2 3] [{1 1 unknown}] more false",
		} {
			if got := local(t, c, conv); got != want {
				t.Errorf("local %s of %s, want %s", got, conv, want)
			}
		}
		at := c.Cursor()
		slices.SortFunc(at.Groups, func(a, b protocol.GroupCursor) int { return strings.Compare(a.Group, b.Group) })
		if want := []protocol.GroupCursor{{Group: "all", Cursor: "all2"}, {Group: "team", Cursor: "new"}}; at.Since != "c3" || !slices.Equal(at.Groups, want) {
			t.Errorf("cursor %+v, want c3 and %v", at, want)
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

// TestOldPageAndReset: a page that was fetched in an earlier session goes with a reset, even
// if it was written after the login.
func TestOldPageAndReset(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		db := &slowDB{DB: store.Memory(), begin: make(chan struct{})}
		cfg.Store = func() (store.DB, error) { return db, nil }
		c := start(t, cfg)
		p, _ := s.login()
		p.push("onSynced", frame{"cursor": "synced"})
		synctest.Wait()
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.Messages(t.Context(), "u:bob", Query{})
		}()
		f := p.want("getMessage")
		db.slow.Store(true)
		p.ok(f, frame{"messages": []any{message(1)}, "from": 1, "to": 1})
		synctest.Wait()
		p.ws.CloseNow()
		p, _ = s.login()
		synctest.Wait()
		db.slow.Store(false)
		close(db.begin)
		<-done
		p.push("onSynced", frame{"cursor": "new", "reset": true})
		synctest.Wait()
		if got, want := local(t, c, "u:bob"), "0-0 [] [] more false"; got != want {
			t.Errorf("local %s, want %s", got, want)
		}
	})
}

// A slowDB holds back, while slow is set, transactions until begin is closed.
type slowDB struct {
	store.DB
	slow  atomic.Bool
	begin chan struct{}
}

func (d *slowDB) Update(f func(store.KV) error) error {
	if d.slow.Load() {
		<-d.begin
	}
	return d.DB.Update(f)
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

// TestNewestIsAsked: of a conversation whose newest seq the store was never told, Messages asks
// for the newest page, whatever cursors the login had; and of none a second time.
func TestNewestIsAsked(t *testing.T) {
	for name, begin := range map[string]func(t *testing.T, c *Client, p *peer, conv string){
		"never named": func(*testing.T, *Client, *peer, string) {},
		"imported": func(t *testing.T, c *Client, _ *peer, conv string) {
			body, _ := protocol.EncodeBody("old")
			if err := c.ImportMessages(conv, []Message{{From: "bob", Seq: 1, Time: 1, Body: body}}); err != nil {
				t.Fatal(err)
			}
		},
		"recalled": func(_ *testing.T, _ *Client, p *peer, conv string) {
			p.push("onRecall", frame{"conv": conv, "ranges": []any{[]any{1, 1}}, "by": "bob"})
		},
		"enabled again": func(t *testing.T, c *Client, p *peer, conv string) {
			push := func(d int) {
				m := message(d)
				m["conv"] = conv
				p.push("onNewMessage", frame{"d": d, "messages": []any{m}})
				synctest.Wait()
			}
			push(1)
			if err := c.DisableStorage(conv); err != nil {
				t.Fatal(err)
			}
			push(2)
			if err := c.EnableStorage(conv); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *server, cfg Config) {
				for _, conv := range []string{"u:bob", "g:team"} {
					for _, again := range []bool{false, true} {
						cfg.Store = Memory()
						c := start(t, cfg)
						p, _ := s.login()
						p.push("onGroupEvent", frame{"group": "team", "event": "joined", "users": []any{"alice"}, "time": 1, "cursor": "team"})
						p.push("onSynced", frame{"cursor": "synced"})
						synctest.Wait()
						begin(t, c, p, conv)
						if again {
							p.ws.CloseNow()
							var login frame
							p, login = s.login()
							if login["since"] != "synced" || login["groups"] == nil {
								t.Fatalf("login %v, want cursors", login)
							}
							p.push("onSynced", frame{"cursor": "synced"})
						}
						synctest.Wait()
						for len(p.frames) > 0 {
							<-p.frames // acks
						}
						got := make(chan string, 2)
						ask := func() {
							page, err := c.Messages(t.Context(), conv, Query{Limit: 1})
							got <- fmt.Sprint(len(page.Messages) == 1 && page.Messages[0].Seq == 9, " ", err)
						}
						go ask()
						m := message(9)
						m["conv"] = conv
						f := p.want("getMessage")
						p.ok(f, frame{"messages": []any{m}, "from": max(number(args(f)["after"]), 0) + 1, "to": 9})
						ask()
						p.quiet()
						for range 2 {
							if page, want := <-got, "true <nil>"; page != want {
								t.Errorf("%s: has 9, error: %s, want %s", conv, page, want)
							}
						}
						go func() { p.ok(p.want("logout"), frame{}); p.ws.CloseNow() }()
						c.Close()
						<-c.Done()
					}
				}
			})
		})
	}
}

func TestLocalOperations(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		cfg.Store = Memory()
		c := start(t, cfg)
		p, _ := s.login()
		body := func(v any) []byte { b, _ := protocol.EncodeBody(v); return b }
		err := c.ImportMessages("u:bob", []Message{
			{ID: protocol.ID{1}, From: "bob", Seq: 1, Time: 10, Body: body(map[string]any{"text": "The quick Fox"})},
			{ID: protocol.ID{2}, From: "bob", Seq: 2, Time: 20, Body: body([]any{"foxes", int64(3)})},
			{ID: protocol.ID{3}, From: "bob", Seq: 3, Time: time.Now().UnixMilli(), TTL: 60, Body: body("a fox for a minute")},
		})
		if err != nil {
			t.Fatal(err)
		}
		find := func(search Search) string {
			found, err := c.SearchLocal(search)
			if err != nil {
				t.Fatal(err)
			}
			return describe(Page{Messages: found})
		}
		for _, test := range []struct {
			search Search
			want   string
		}{
			{Search{Text: "FOX"}, "[3 2 1]"},
			{Search{Text: "fox", Words: true}, "[3 1]"},
			{Search{Text: "fox quick", Words: true, Conv: "u:bob"}, "[1]"},
			{Search{Text: "fox", Limit: 1}, "[3]"},
			{Search{Text: "text"}, "[]"},
			{Search{Text: "fox", Conv: "u:eve"}, "[]"},
			{Search{}, "[]"},
		} {
			if got := find(test.search); !strings.Contains(got, " "+test.want+" ") {
				t.Errorf("%+v found %s, want %s", test.search, got, test.want)
			}
		}
		if err := c.DeleteLocalMessages("u:bob", 1, 99); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		if got, want := local(t, c, "u:bob"), "1-3 [2] [{1 1 deleted} {3 3 expired}] more false"; got != want {
			t.Errorf("local %s, want %s", got, want)
		}
		p.messages(1, "", 1) // deleted here: it stays so, and is not asked for
		if m, err := c.FindMessage(t.Context(), "u:bob", 2); err != nil || m.Seq != 2 {
			t.Errorf("FindMessage(2) = %v, %v", m.Seq, err)
		}
		_, err = c.FindMessage(t.Context(), "u:bob", 1)
		if gap, ok := errors.AsType[*GapError](err); !ok || gap.Reason != protocol.GapDeleted {
			t.Errorf("FindMessage(1) = %v, want deleted", err)
		}
		if err := c.DeleteLocalConversation("u:bob", true); err != nil {
			t.Fatal(err)
		}
		if got, want := local(t, c, "u:bob"), "1-3 [] [{1 3 deleted}] more false"; got != want {
			t.Errorf("local %s, want %s", got, want)
		}
		bad := func(want string, err error) {
			if wrong, ok := errors.AsType[*FieldError](err); !ok || wrong.Field != want {
				t.Errorf("error %v, want one of %s", err, want)
			}
		}
		bad("Seq", c.ImportMessages("u:bob", []Message{{From: "bob", Body: body(1)}}))
		bad("Body", c.ImportMessages("u:bob", []Message{{From: "bob", Seq: 1}}))
		// The store could not read these again, nor then anything else.
		bad("Mentions", c.ImportMessages("u:bob", []Message{{From: "bob", Seq: 1, Body: body(1), Mentions: []string{"\xff"}}}))
		bad("Mentions", c.ImportMessages("u:bob", []Message{{From: "bob", Seq: 1, Body: body(1), Mentions: slices.Repeat([]string{"bob"}, protocol.MaxMentions+1)}}))
		bad("seqs", c.DeleteLocalMessages("u:bob", 0))
		_, err = c.Conversations(-1, 0)
		bad("skip", err)
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
