package chatui

import (
	"strings"
	"testing"
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
