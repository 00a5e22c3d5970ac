package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/belfry-im/belfry/client"
)

func TestPrintable(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"text", "grüße, 世界 👩‍👩‍👧", "grüße, 世界 👩‍👩‍👧"},
		{"colour", "\x1b[31mred\x1b[0m", "[31mred[0m"},
		{"window title", "\x1b]0;owned\x07hi", "]0;ownedhi"},
		{"eight-bit CSI", "\u009b2Jgone", "2Jgone"},
		{"carriage return", "good\rbad", "goodbad"},
		{"backspace", "abc\b\b\bxyz", "abcxyz"},
		{"delete", "a\x7fb", "ab"},
		{"newline", "a\nb", "a\nb"},
		{"line separator", "a\u2028b", "a\nb"},
		{"tab", "a\tb", "a    b"},
		{"right-to-left override", "exe.\u202egpj.txt", "exe.gpj.txt"},
		{"isolate", "\u2066a\u2069", "a"},
		{"tag characters", "a\U000E0041b", "ab"},
		{"invalid UTF-8", "a\xffb", "a\ufffdb"},
		{"NUL", "a\x00b", "ab"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := printable(c.in); got != c.want {
				t.Errorf("printable(%q) = %q, want %q", c.in, got, c.want)
			}
		})
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("\x1b[2J\u009b\u202e\xc2")
	f.Fuzz(func(t *testing.T, s string) {
		for _, r := range printable(s) {
			if r != '\n' && (r < ' ' || r >= 0x7f && r < 0xa0 || reordersText(r)) {
				t.Fatalf("printable(%q) has %U", s, r)
			}
		}
		if strings.Contains(printableLine(s), "\n") {
			t.Fatalf("printableLine(%q) has a line break", s)
		}
	})
}

func TestBodyText(t *testing.T) {
	for _, c := range []struct {
		name string
		body any
		want string
	}{
		{"text", map[string]any{"text": "hi", "font": "big"}, "hi"},
		{"string", "hi", "hi"},
		{"other program", map[string]any{"kind": "<sticker>", "n": int64(3)}, `{"kind":"<sticker>","n":3}`},
		{"text that is none", map[string]any{"text": int64(3)}, `{"text":3}`},
		{"null", nil, "null"},
		{"binary", []byte{1, 2}, `"AQI="`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := bodyText(c.body); got != c.want {
				t.Errorf("bodyText(%v) = %q, want %q", c.body, got, c.want)
			}
		})
	}
}

func TestParseChatInput(t *testing.T) {
	for _, c := range []struct {
		line string
		want chatInput
		err  string // part of it
	}{
		{line: "hello there ", want: chatInput{text: "hello there"}},
		{line: "  ", want: chatInput{}},
		{line: "//shrug", want: chatInput{text: "/shrug"}},
		{line: "/to bob", want: chatInput{command: "to", text: "bob"}},
		{line: "/to", err: "/to: whom"},
		{line: "/to two words", err: "/to: "},
		{line: "/to bj\u00f6rn", err: "/to: "},
		{line: "/history", want: chatInput{command: "history", n: 20}},
		{line: "/history 5", want: chatInput{command: "history", n: 5}},
		{line: "/history 101", err: "/history: want a number from 1 to 100"},
		{line: "/history x", err: "/history: want a number from 1 to 100"},
		{line: "/block", want: chatInput{command: "block"}},
		{line: "/unblock carol", want: chatInput{command: "unblock", text: "carol"}},
		{line: "/recall", want: chatInput{command: "recall"}},
		{line: "/recall 3", err: "/recall: takes nothing after it"},
		{line: "/quit", want: chatInput{command: "quit"}},
		{line: "/frobnicate", err: "/frobnicate: no such command"},
		{line: "/\x1b[2J", err: "/[2J: no such command"},
	} {
		t.Run(c.line, func(t *testing.T) {
			got, err := parseChatInput(c.line)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("parseChatInput(%q) = %v, want error with %q", c.line, err, c.err)
				}
				return
			}
			if err != nil || got != c.want {
				t.Errorf("parseChatInput(%q) = %+v, %v, want %+v", c.line, got, err, c.want)
			}
		})
	}
}

func TestCompleteChatInput(t *testing.T) {
	users := []string{"bob", "carol", "carl"}
	for _, c := range []struct{ line, want string }{
		{"/h", "/h"}, // help and history
		{"/he", "/help "},
		{"/to b", "/to bob"},
		{"/to car", "/to car"},
		{"/to caro", "/to carol"},
		{"hello b", "hello b"},
	} {
		if got := completeChatInput(c.line, users); got != c.want {
			t.Errorf("completeChatInput(%q) = %q, want %q", c.line, got, c.want)
		}
	}
}

func TestEditor(t *testing.T) {
	keys := func(e *editor, keys ...string) {
		for _, k := range keys {
			if !e.press(k) {
				e.insert(k)
			}
		}
	}
	for _, c := range []struct {
		name string
		keys []string
		want string // with | for the cursor
	}{
		{"typing", []string{"a", "b"}, "ab|"},
		{"inside", []string{"a", "c", "left", "b"}, "ab|c"},
		{"wide", []string{"世", "界", "left", "backspace"}, "|界"},
		{"family is one character", []string{"x", "👩‍👩‍👧", "backspace"}, "x|"},
		{"combining mark", []string{"e\u0301", "left", "delete"}, "|"},
		{"word", []string{"one two  ", "ctrl+w"}, "one |"},
		{"word in capitals of two bytes", []string{"ça va", "ctrl+w", "ctrl+w"}, "|"},
		{"home and kill", []string{"one", "home", "right", "ctrl+k"}, "o|"},
		{"ends", []string{"left", "right", "backspace", "delete"}, "|"},
		{"paste of lines", []string{"a\nb\x1b[A"}, "a b[A|"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var e editor
			keys(&e, c.keys...)
			if got := e.left + "|" + e.right; got != c.want {
				t.Errorf("line = %q, want %q", got, c.want)
			}
		})
	}

	t.Run("past lines", func(t *testing.T) {
		var e editor
		keys(&e, "one")
		e.enter()
		keys(&e, "two")
		e.enter()
		keys(&e, "new", "up", "up", "up")
		if got := e.text(); got != "one" {
			t.Errorf("line = %q, want one", got)
		}
		keys(&e, "down", "down", "down")
		if got := e.text(); got != "new" {
			t.Errorf("line = %q, want new", got)
		}
	})

	t.Run("bound", func(t *testing.T) {
		var e editor
		for range 3 * maxDraft / 100 {
			e.insert(strings.Repeat("x", 100))
		}
		if n := len(e.text()); n > maxDraft {
			t.Errorf("line of %d bytes, want at most %d", n, maxDraft)
		}
	})
}

func TestEditorShow(t *testing.T) {
	for _, c := range []struct {
		left, right string
		width       int
		line        string
		cursor      int
	}{
		{"hello", "", 20, "> hello", 7},
		{"世界", "!", 20, "> 世界!", 6},
		{"a long line of text", "", 10, "> …f text", 9},
		{"abc", "defghijkl", 10, "> abcdefg…", 5},
		{"世界世界世界", "", 10, "> …界世界", 9},
	} {
		e := editor{left: c.left, right: c.right}
		line, cursor := e.show(graphemeCells, chatPrompt, c.width)
		if w := ansi.StringWidth(line); w > c.width || cursor >= c.width {
			t.Errorf("show(%q|%q) in %d cells takes %d, cursor at %d", c.left, c.right, c.width, w, cursor)
		}
		if line != c.line || cursor != c.cursor {
			t.Errorf("show(%q|%q) = %q, %d, want %q, %d", c.left, c.right, line, cursor, c.line, c.cursor)
		}
	}
}

// chatAt is a chat of alice with bob, some minutes past nine.
func chatAt(entries ...chatEntry) (*chatModel, *chatLog) {
	m := newChatModel("alice")
	m.state, m.synced, m.current = client.StateOnline, true, "u:bob"
	l := m.log("u:bob")
	for i, e := range entries {
		e.time = morning.Add(time.Duration(i) * time.Minute).UnixMilli()
		l.add(e)
	}
	return m, l
}

var morning = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

func screenOf(width, height int) chatScreen {
	return chatScreen{width: width, height: height, now: morning.Add(time.Hour), draft: "> ", cells: graphemeCells}
}

func TestRender(t *testing.T) {
	m, l := chatAt(
		chatEntry{seq: 1, from: "bob", text: "hi"},
		chatEntry{seq: 2, from: "alice", text: "hello bob, how are things going"},
		chatEntry{seq: 3, from: "alice", text: "?"},
		chatEntry{seq: 4, from: "bob", text: "oops", recalled: true},
		chatEntry{seq: 5, from: "bob", text: "世界 \x1b[31mfine\nand you"},
		chatEntry{cid: "x", from: "alice", text: "good"},
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
	m, l := chatAt(
		chatEntry{seq: 1, from: strings.Repeat("b", 64), text: strings.Repeat("世界 ", 40)},
		chatEntry{seq: 2, from: "alice", text: strings.Repeat("👩‍👩‍👧", 30)},
		chatEntry{seq: 3, from: "bob", text: strings.Repeat("x", 300) + "\n\n\nend"},
		chatEntry{cid: "x", from: "alice", text: "no", failed: "because it may not be"},
	)
	l.firstNew = 3
	l.complete = true
	m.log("u:carol").unread = 12345
	for _, line := range chatHelp() {
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
	m, _ := chatAt(chatEntry{seq: 1, from: "bob", text: "\x1b]0;x\x07\x1b[2J\u009b1m"})
	m.note("Not sent: %s", "\x1b[2J")
	if got := strings.Join(m.render(screenOf(40, 10)), "\n"); strings.ContainsAny(got, "\x1b\x07\u009b") {
		t.Errorf("render = %q has control characters", got)
	}
}

func TestScroll(t *testing.T) {
	var entries []chatEntry
	for i := range 50 {
		entries = append(entries, chatEntry{seq: uint64(i + 1), from: "bob", text: fmt.Sprint("message ", i+1)})
	}
	m, _ := chatAt(entries...)
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

func TestChatLog(t *testing.T) {
	seqs := func(l *chatLog) (list []uint64) {
		for _, e := range l.entries {
			list = append(list, e.seq)
		}
		return list
	}
	t.Run("order", func(t *testing.T) {
		l := &chatLog{conv: "u:bob"}
		l.add(chatEntry{cid: "a", from: "alice"})
		for _, seq := range []uint64{5, 3, 4, 5, 9} {
			l.add(chatEntry{seq: seq, from: "bob"})
		}
		l.stored("a", 7, 0)
		if got := fmt.Sprint(seqs(l)); got != "[3 4 5 7 9]" {
			t.Errorf("seqs = %s, want [3 4 5 7 9]", got)
		}
	})
	t.Run("stored twice", func(t *testing.T) {
		l := &chatLog{conv: "u:bob"}
		l.add(chatEntry{cid: "a", from: "alice"})
		l.add(chatEntry{seq: 1, from: "alice"}) // history was faster than the answer
		l.stored("a", 1, 0)
		if got := fmt.Sprint(seqs(l)); got != "[1]" {
			t.Errorf("seqs = %s, want [1]", got)
		}
	})
	t.Run("bound", func(t *testing.T) {
		l := &chatLog{conv: "u:bob", complete: true}
		for i := range maxChatEntries + 10 {
			l.add(chatEntry{seq: uint64(i + 1)})
		}
		if len(l.entries) != maxChatEntries || l.oldest() != 11 || l.complete {
			t.Errorf("%d entries from %d on, complete %t; want %d from 11 on", len(l.entries), l.oldest(), l.complete, maxChatEntries)
		}
	})
	t.Run("recall of one sender", func(t *testing.T) {
		l := &chatLog{conv: "g:team"}
		l.add(chatEntry{seq: 1, from: "bob"})
		l.add(chatEntry{seq: 2, from: "carol"})
		l.recall(1, 2, "bob")
		if !l.entries[0].recalled || l.entries[1].recalled {
			t.Errorf("recalled = %t, %t, want true, false", l.entries[0].recalled, l.entries[1].recalled)
		}
	})
	t.Run("logs", func(t *testing.T) {
		m := newChatModel("alice")
		for i := range maxChatLogs + 5 {
			m.log(fmt.Sprint("u:", i))
		}
		if len(m.logs) != maxChatLogs {
			t.Errorf("%d logs, want %d", len(m.logs), maxChatLogs)
		}
	})
}
