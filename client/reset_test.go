package client

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/belfry-im/belfry/client/store"
	"github.com/belfry-im/belfry/gateway/protocol"
)

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
