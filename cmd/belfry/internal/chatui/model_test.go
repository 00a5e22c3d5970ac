package chatui

import (
	"fmt"
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"

	"github.com/belfry-im/belfry/client"
	"github.com/belfry-im/belfry/gateway/protocol"
)

// said is a message as a chat gets it.
func said(t *testing.T, conv, from string, seq uint64, text string) client.Message {
	t.Helper()
	body, err := protocol.EncodeBody(map[string]any{"text": text})
	if err != nil {
		t.Fatal(err)
	}
	c, err := protocol.ParseConv(conv)
	if err != nil {
		t.Fatal(err)
	}
	return client.Message{Conv: c, From: from, Seq: seq, Time: morning.UnixMilli(), Body: body}
}

var bob, carol = protocol.UserConv("bob"), protocol.UserConv("carol")

func TestUnread(t *testing.T) {
	m := newModel("alice")
	m.apply(client.StateOnline)
	m.apply(incoming{said(t, "u:bob", "bob", 5, "a"), said(t, "u:carol", "carol", 2, "b")})
	jobs := m.apply(client.Synced{Conversations: []client.Conversation{
		{Conv: carol, LastSeq: 2, ReadSeq: 1, Unread: 1, PeerReadSeq: 1},
		{Conv: bob, LastSeq: 5, ReadSeq: 2, Unread: 3},
	}})
	if m.current != "u:carol" {
		t.Fatalf("opened %q, want the newest conversation", m.current)
	}
	if len(jobs) != 2 { // its history, and a read report
		t.Errorf("%d jobs on opening, want 2", len(jobs))
	}
	if l := m.logs["u:carol"]; l.unread != 0 || l.readSeq != 2 || l.firstNew != 2 {
		t.Errorf("opened: %d unread, read to %d, new from %d; want 0, 2, 2", l.unread, l.readSeq, l.firstNew)
	}
	if n := m.logs["u:bob"].unread; n != 3 {
		t.Errorf("%d unread of bob, want the server's 3", n)
	}
	m.apply(incoming{said(t, "u:bob", "bob", 6, "c"), said(t, "u:bob", "alice", 7, "from my phone")})
	if n := m.logs["u:bob"].unread; n != 4 {
		t.Errorf("%d unread of bob, want 4: own messages do not count", n)
	}
	m.apply(client.ReadReport{Conv: bob, Seq: 5}) // on another device
	if n := m.logs["u:bob"].unread; n != 1 {
		t.Errorf("%d unread of bob after a report up to 5, want 1", n)
	}
	m.enter("/to bob")
	if l := m.logs["u:bob"]; l.unread != 0 || l.firstNew != 6 {
		t.Errorf("%d unread, new from %d; want 0, 6", l.unread, l.firstNew)
	}
}

// The first to write to a chat with nobody is whom to answer.
func TestOpensFirst(t *testing.T) {
	m := newModel("alice")
	m.apply(client.StateOnline)
	m.apply(client.Synced{})
	if len(m.notes) == 0 {
		t.Error("no word on how to begin")
	}
	m.apply(incoming{said(t, "u:bob", "bob", 1, "hi")})
	if m.current != "u:bob" || m.logs["u:bob"].unread != 0 {
		t.Errorf("on the screen: %q, %d unread; want bob, 0", m.current, m.logs["u:bob"].unread)
	}
}

func TestMarks(t *testing.T) {
	m, l := screenAt(entry{seq: 1, from: "alice"}, entry{seq: 2, from: "alice"}, entry{cid: "x", from: "alice"})
	marks := func() string {
		var all []string
		for _, e := range l.entries {
			all = append(all, l.mark("alice", e))
		}
		return strings.Join(all, " ")
	}
	if got := marks(); got != "✓ ✓ …" {
		t.Errorf("marks = %s, want ✓ ✓ …", got)
	}
	m.apply(client.ReadReceipt{Conv: bob, Seq: 1})
	m.apply(sendResult{conv: "u:bob", cid: "x", result: client.SendResult{Seq: 3}})
	if got := marks(); got != "✓✓ ✓ ✓" {
		t.Errorf("marks = %s, want ✓✓ ✓ ✓", got)
	}
	l.add(entry{cid: "y", from: "alice"})
	m.apply(sendResult{conv: "u:bob", cid: "y", err: &client.Error{Code: "forbidden", Message: "you are blocked"}})
	if got := marks(); got != "✓✓ ✓ ✓ ✗" {
		t.Errorf("marks = %s, want ✓✓ ✓ ✓ ✗", got)
	}
	if got := fmt.Sprint(m.notes); !strings.Contains(got, "you are blocked") {
		t.Errorf("notes = %s, want why", got)
	}
}

func TestChanges(t *testing.T) {
	m, l := screenAt(entry{seq: 1, from: "bob"}, entry{seq: 2, from: "bob"}, entry{seq: 3, from: "bob"})
	m.apply(client.Recall{Conv: bob, By: "bob", Ranges: []protocol.Range{{From: 1, To: 1}}})
	m.apply(client.MessagesDeleted{Conv: bob, Seqs: []uint64{3}})
	if len(l.entries) != 2 || !l.entries[0].recalled || l.entries[1].recalled {
		t.Errorf("entries = %+v, want 1 taken back and 2", l.entries)
	}
	m.apply(client.ConversationDeleted{Conv: bob, Messages: true})
	if len(l.entries) != 0 {
		t.Errorf("entries = %+v, want none", l.entries)
	}
	m.apply(client.Synced{Lost: []protocol.Lost{{Conv: bob, From: 1, To: 9, Count: 9}}})
	if got := fmt.Sprint(m.notes); !strings.Contains(got, "9 messages from bob") {
		t.Errorf("notes = %s, want what limits took away", got)
	}
}

// TestKeys drives the whole screen by key presses.
func TestKeys(t *testing.T) {
	m, _ := screenAt(entry{seq: 1, from: "bob", text: "hi"})
	ui := &tui{model: m, ctx: t.Context()}
	ui.Update(tea.WindowSizeMsg{Width: 80, Height: 24})
	press := func(keys ...tea.KeyPressMsg) {
		for _, k := range keys {
			ui.Update(k)
		}
	}
	for _, r := range "/he" {
		press(tea.KeyPressMsg{Code: r, Text: string(r)})
	}
	press(tea.KeyPressMsg{Code: tea.KeyTab}, tea.KeyPressMsg{Code: tea.KeyEnter})
	view := ui.View()
	if !strings.Contains(view.Content, "/to USER") || !strings.Contains(view.Content, "/[un]ban USER ...") ||
		!strings.Contains(view.Content, "/quit") || !strings.Contains(view.Content, "bob  hi") {
		t.Errorf("screen after /help:\n%s", view.Content)
	}
	if view.Cursor.X != len(prompt) || view.Cursor.Y != 23 {
		t.Errorf("cursor at %d, %d, want behind the prompt in the last line", view.Cursor.X, view.Cursor.Y)
	}
	press(tea.KeyPressMsg{Code: tea.KeyEscape})
	if strings.Contains(ui.View().Content, "/history") {
		t.Error("Esc left the notes on the screen")
	}
	ui.Update(tea.PasteMsg{Content: "/nonsense\nx"})
	press(tea.KeyPressMsg{Code: tea.KeyEnter})
	if !strings.Contains(ui.View().Content, "no such command") {
		t.Errorf("screen after an unknown command:\n%s", ui.View().Content)
	}
	if _, cmd := ui.Update(tea.KeyPressMsg{Code: 'c', Mod: tea.ModCtrl}); cmd == nil || cmd() != tea.Quit() {
		t.Error("ctrl-C does not end the chat")
	}
}
