package chatui

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/belfry-im/belfry/client"
)

// screenAt is a chat of alice with bob, some minutes past nine.
func screenAt(entries ...entry) (*model, *transcript) {
	m := newModel("alice")
	m.state, m.synced, m.current = client.StateOnline, true, "u:bob"
	l := m.log("u:bob")
	for i, e := range entries {
		e.time = morning.Add(time.Duration(i) * time.Minute).UnixMilli()
		l.add(e)
	}
	return m, l
}

var morning = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

func screenOf(width, height int) screen {
	return screen{width: width, height: height, now: morning.Add(time.Hour), draft: "> ", cells: graphemeCells}
}

func TestRender(t *testing.T) {
	m, l := screenAt(
		entry{seq: 1, from: "bob", text: "hi"},
		entry{seq: 2, from: "alice", text: "hello bob, how are things going"},
		entry{seq: 3, from: "alice", text: "?"},
		entry{seq: 4, from: "bob", text: "oops", recalled: true},
		entry{seq: 5, from: "bob", text: "世界 \x1b[31mfine\nand you"},
		entry{cid: "x", from: "alice", text: "good"},
	)
	l.peerReadSeq, l.firstNew = 2, 5
	l.typingUntil = morning.Add(2 * time.Hour).UnixMilli()
	other := m.log("u:carol")
	other.unread = 2
	m.note("a note")

	got := strings.Join(m.render(screenOf(40, 16)), "\n")
	want := strings.Join([]string{
		" alice → bob   new: carol (2)    online ",
		"",
		"── Monday, 2 March ──",
		"09:00 bob  hi",
		"09:01 alice  hello bob, how are",
		"             things going ✓✓",
		"09:02 alice  ? ✓",
		"09:03 bob  taken back",
		"── new ──",
		"09:04 bob  世界 [31mfine",
		"           and you",
		"09:05 alice  good …",
		"* a note",
		"bob is typing…",
		"> ",
	}, "\n")
	// One row is free above the messages.
	want = strings.Replace(want, "online \n\n", "online \n\n\n", 1)
	if got != want {
		t.Errorf("render:\n%s\nwant:\n%s", got, want)
	}
}

// TestRenderFits draws every size of screen: nothing may be wider or higher.
func TestRenderFits(t *testing.T) {
	m, l := screenAt(
		entry{seq: 1, from: strings.Repeat("b", 64), text: strings.Repeat("世界 ", 40)},
		entry{seq: 2, from: "alice", text: strings.Repeat("👩‍👩‍👧", 30)},
		entry{seq: 3, from: "bob", text: strings.Repeat("x", 300) + "\n\n\nend"},
		entry{cid: "x", from: "alice", text: "no", failed: "because it may not be"},
	)
	l.firstNew = 3
	l.complete = true
	m.log("u:carol").unread = 12345
	for _, line := range help() {
		m.note("%s", line)
	}
	for width := range 60 {
		for height := range 20 {
			s := screenOf(width, height)
			s.colours, s.draft = true, ""
			for _, s.cells = range []cells{{}, graphemeCells} {
				for _, s.scrolled = range []int{0, 5, 1000} {
					lines := m.render(s)
					if len(lines) != height {
						t.Fatalf("%d×%d: %d lines", width, height, len(lines))
					}
					for _, line := range lines {
						if w := s.cells.width(line); w > width {
							t.Fatalf("%d×%d: %d cells: %q", width, height, w, line)
						}
					}
				}
			}
		}
	}
}

func TestRenderNeverEscapes(t *testing.T) {
	m, _ := screenAt(entry{seq: 1, from: "bob", text: "\x1b]0;x\x07\x1b[2J\u009b1m"})
	m.note("Not sent: %s", "\x1b[2J")
	if got := strings.Join(m.render(screenOf(40, 10)), "\n"); strings.ContainsAny(got, "\x1b\x07\u009b") {
		t.Errorf("render = %q has control characters", got)
	}
}

func TestScroll(t *testing.T) {
	var entries []entry
	for i := range 50 {
		entries = append(entries, entry{seq: uint64(i + 1), from: "bob", text: fmt.Sprint("message ", i+1)})
	}
	m, _ := screenAt(entries...)
	s := screenOf(40, 13) // ten messages
	if got := m.render(s)[10]; !strings.HasSuffix(got, "message 50") {
		t.Errorf("last line = %q, want message 50", got)
	}
	s.scrolled = 5
	if got := m.render(s)[10]; !strings.HasSuffix(got, "message 45") {
		t.Errorf("last line scrolled by 5 = %q, want message 45", got)
	}
	s.scrolled = 1000
	if got := m.render(s)[1]; !strings.Contains(got, "Monday") {
		t.Errorf("first line at the top = %q, want the day", got)
	}
}
