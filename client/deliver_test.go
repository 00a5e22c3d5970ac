package client

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/coder/websocket"

	"github.com/belfry-im/belfry/gateway/protocol"
)

func TestResume(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		var told diary
		release := make(chan struct{})
		cfg.OnMessages = func(list []Message) {
			told.messages(list)
			if list[0].Seq == 3 {
				<-release
			}
		}
		c := start(t, cfg)

		p, login := s.login()
		if login["since"] != nil {
			t.Errorf("since of a new device = %v, want none", login["since"])
		}
		p.messages(1, "at 2", 1, 2)
		p.messages(2, "at 3", 3)
		p.messages(3, "at 4", 4)
		if got := told.read(); got != "1 2 3" {
			t.Fatalf("told %s, want 1 2 3", got)
		}
		p.ws.CloseNow()

		// The handler is still busy with 3: the device stands at 2.
		p, login = s.login()
		if login["since"] != "at 2" {
			t.Errorf("since = %v, want at 2", login["since"])
		}
		close(release)
		p.messages(1, "at 3", 3)
		p.messages(2, "at 4", 4)
		if got := told.read(); got != "1 2 3 4" {
			t.Errorf("told %s, want 1 2 3 4", got)
		}
		if got := c.Cursor().Since; got != "at 4" {
			t.Errorf("cursor = %s, want at 4", got)
		}
		p.push("onSynced", frame{"cursor": "synced", "conversations": []any{
			frame{"conv": "g:team", "lastSeq": 1, "time": 1, "readSeq": 0, "cursor": "team at 1"},
		}})
		synctest.Wait()
		p.ws.Close(protocol.CloseGoingAway, "")
		_, login = s.login()
		if since, groups := login["since"], fmt.Sprint(login["groups"]); since != "synced" || groups != "map[team:team at 1]" {
			t.Errorf("since %v, groups %v, want synced, map[team:team at 1]", since, groups)
		}
	})
}

func TestAck(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		release := make(chan struct{})
		cfg.OnMessages = func([]Message) { <-release }
		start(t, cfg)
		p, _ := s.login()
		p.messages(1, "", 1)
		p.quiet() // its handler runs
		release <- struct{}{}
		if d := number(args(p.want("ack"))["d"]); d != 1 {
			t.Errorf("ack %d, want 1", d)
		}

		// A burst is acknowledged once the handlers have caught up.
		for d := 2; d <= 40; d++ {
			p.messages(d, "", d)
		}
		synctest.Wait()
		close(release)
		if d := number(args(p.want("ack"))["d"]); d != 40 {
			t.Errorf("ack %d, want 40 at once", d)
		}
		p.quiet()
	})
}

// What is behind the last message, as onSynced is at each login, must not keep its ack back.
func TestAckBehindAnotherPush(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		release := make(chan struct{})
		cfg.OnMessages = func([]Message) { <-release }
		for name, open := range map[string]OpenStore{"no store": nil, "store": Memory()} {
			cfg.Store = open
			start(t, cfg)
			p, _ := s.login()
			p.messages(1, "", 1)
			p.push("onSynced", frame{"cursor": "synced"})
			p.quiet()
			release <- struct{}{}
			if d := number(args(p.want("ack"))["d"]); d != 1 {
				t.Errorf("%s: ack %d, want 1", name, d)
			}
		}
	})
}

// A handler that never catches up must not let the window run dry.
func TestAckWithinWindow(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		step := make(chan struct{})
		cfg.OnMessages = func([]Message) { <-step }
		start(t, cfg)
		p, _ := s.login()
		for d := 1; d <= 200; d++ {
			p.messages(d, "", d)
		}
		for range 63 {
			step <- struct{}{}
		}
		p.quiet()
		step <- struct{}{}
		if d := number(args(p.want("ack"))["d"]); d != 64 {
			t.Errorf("ack %d, want 64, a quarter of the window", d)
		}
		close(step)
	})
}

func TestDuplicatesAreDropped(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		var told diary
		cfg.OnMessages = told.messages
		start(t, cfg)
		p, _ := s.login()
		p.messages(1, "", 1, 2)
		p.messages(2, "", 2, 3)
		p.messages(3, "", 1, 2, 3)
		// What is stored nowhere cannot be a repeat.
		fleeting := message(9)
		fleeting["ephemeral"] = true
		delete(fleeting, "seq")
		p.push("onNewMessage", frame{"d": 4, "messages": []any{fleeting, fleeting}})
		if got := told.read(); got != "1 2 3 0 0" {
			t.Errorf("told %s, want 1 2 3 0 0", got)
		}
	})
}

func TestHandlersMayAsk(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		var c *Client
		answered := make(chan error, 1)
		cfg.OnMessages = func([]Message) {
			_, err := c.Send(t.Context(), "u:bob", "answer", SendOptions{})
			answered <- err
		}
		c = start(t, cfg)
		p, _ := s.login()
		p.messages(1, "", 1)
		p.sent(p.want("send"), 2)
		if err := <-answered; err != nil {
			t.Errorf("Send in a handler: %v", err)
		}
	})
}

// TestInboxFull floods a handler that hangs: signals are dropped, anything
// else costs the connection and comes again.
func TestInboxFull(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		hang := make(chan struct{})
		typed := 0
		cfg.OnReadReport = func(ReadReport) { <-hang }
		cfg.OnTyping = func(Typing) { typed++ }
		start(t, cfg)
		p, _ := s.login()
		p.push("onReadReport", frame{"conv": "u:bob", "seq": 1})
		for range 2 * inboxEvents {
			p.push("onTyping", frame{"user": "bob", "conv": "u:bob", "time": 1})
		}
		p.quiet()
		for i := range inboxEvents {
			if p.ws.Write(t.Context(), websocket.MessageText, nil) != nil {
				break
			}
			p.push("onReadReport", frame{"conv": "u:bob", "seq": i + 2})
		}
		s.login()
		close(hang)
		synctest.Wait()
		if typed > signalEvents {
			t.Errorf("%d signals waited, want at most %d", typed, signalEvents)
		}
	})
}

func TestPushes(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, cfg Config) {
		var told diary
		cfg.OnReadReport = func(p ReadReport) { told.add("report:%v:%d", p.Conv, p.Seq) }
		cfg.OnReadReceipt = func(p ReadReceipt) { told.add("receipt:%v:%d:%d", p.Conv, p.Seq, p.Time) }
		cfg.OnRecall = func(p Recall) { told.add("recall:%v:%v:%s", p.Conv, p.Ranges, p.By) }
		cfg.OnMessagesDeleted = func(p MessagesDeleted) { told.add("deleted:%v:%v", p.Conv, p.Seqs) }
		cfg.OnConversationDeleted = func(p ConversationDeleted) { told.add("gone:%v:%t", p.Conv, p.Messages) }
		cfg.OnGroupEvent = func(p GroupEvent) { told.add("group:%s:%s", p.Group, p.Event) }
		cfg.OnTyping = func(p Typing) { told.add("typing:%s", p.User) }
		cfg.OnPresence = func(p Presence) { told.add("presence:%s:%s", p.User, p.Status) }
		cfg.OnSynced = func(p Synced) { told.add("synced:%d", p.UnreadTotal) }
		cfg.OnSkipped = func(n int) { told.add("skipped:%d", n) }
		start(t, cfg)
		p, _ := s.login()
		p.push("onReadReport", frame{"conv": "u:bob", "seq": 1})
		p.push("onReadReceipt", frame{"conv": "u:bob", "seq": 2, "time": 3})
		p.push("onRecall", frame{"conv": "u:bob", "ranges": []any{[]any{4, 5}}, "by": "bob"})
		p.push("onMessageDeleted", frame{"conv": "u:bob", "seqs": []any{6}})
		p.push("onConversationDeleted", frame{"conv": "u:bob", "messages": true})
		p.push("onGroupEvent", frame{"group": "team", "event": "joined", "by": "bob", "time": 7})
		p.push("onTyping", frame{"user": "bob", "conv": "u:bob", "time": 8})
		p.push("onPresence", frame{"user": "bob", "status": "online", "time": 9})
		p.push("onSomethingNew", frame{"a": 1})
		p.push("onNewMessage", frame{"d": 1, "messages": []any{}, "skipped": 10})
		p.push("onSynced", frame{"offline": 0, "lost": []any{}, "cursor": "c", "unreadTotal": 11})
		want := "report:u:bob:1 receipt:u:bob:2:3 recall:u:bob:[{4 5}]:bob deleted:u:bob:[6] gone:u:bob:true " +
			"group:team:joined typing:bob presence:bob:online skipped:10 synced:11"
		if got := told.read(); got != want {
			t.Errorf("told %s\nwant %s", got, want)
		}
	})
}

func TestHeld(t *testing.T) {
	h := newHeld(Cursor{})
	id := func(n int) (id protocol.ID) {
		id[14], id[15] = byte(n>>8), byte(n)
		return id
	}
	for n := range maxSeen + 10 {
		if !h.add(id(n)) {
			t.Fatalf("id %d is not new", n)
		}
	}
	if len(h.seen) != maxSeen || len(h.order) != maxSeen {
		t.Errorf("%d ids held, want %d", len(h.seen), maxSeen)
	}
	if h.add(id(10)) || !h.add(id(9)) {
		t.Error("the bound forgot another id than the oldest")
	}
	for n := range 300 {
		h.move("", []protocol.GroupCursor{{Group: fmt.Sprint(n), Cursor: "c"}, {Group: "busy", Cursor: fmt.Sprint(n)}})
	}
	groups := h.cursor().Groups
	if len(groups) != protocol.MaxLoginGroups || groups[199] != (protocol.GroupCursor{Group: "busy", Cursor: "299"}) {
		t.Errorf("%d groups, last %v, want 200, busy at 299", len(groups), groups[len(groups)-1])
	}
	if slices.Contains(groups, protocol.GroupCursor{Group: "0", Cursor: "c"}) {
		t.Error("the bound kept the group that was silent longest")
	}
}
