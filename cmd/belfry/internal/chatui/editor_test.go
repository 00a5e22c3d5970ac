package chatui

import (
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"
)

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
		line, cursor := e.show(graphemeCells, prompt, c.width)
		if w := ansi.StringWidth(line); w > c.width || cursor >= c.width {
			t.Errorf("show(%q|%q) in %d cells takes %d, cursor at %d", c.left, c.right, c.width, w, cursor)
		}
		if line != c.line || cursor != c.cursor {
			t.Errorf("show(%q|%q) = %q, %d, want %q, %d", c.left, c.right, line, cursor, c.line, c.cursor)
		}
	}
}
