package chatui

import (
	"encoding/json"
	"hash/fnv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

// printable makes text from the network safe to show. A terminal obeys escape
// sequences wherever they come from, so a message could move the cursor, rename
// the window or answer in the reader's name; and marks that change the writing
// direction can make a line read as what it is not. Newlines stay.
func printable(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	for _, r := range s {
		switch {
		case r == '\n':
			b.WriteByte('\n')
		case r == '\t':
			b.WriteString("    ")
		case r == '\u2028', r == '\u2029': // separators of lines and paragraphs
			b.WriteByte('\n')
		case unicode.IsControl(r), reordersText(r):
		case r == utf8.RuneError:
			b.WriteRune(utf8.RuneError)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// printableLine is printable for text that has one line to itself.
func printableLine(s string) string {
	return strings.ReplaceAll(printable(s), "\n", " ")
}

// reordersText reports whether r is a control of the bidirectional algorithm,
// or a tag or filler character that is not visible.
func reordersText(r rune) bool {
	switch {
	case r >= '\u202a' && r <= '\u202e', r >= '\u2066' && r <= '\u2069',
		r == '\u200e', r == '\u200f', r == '\u061c', r == '\ufeff',
		r >= 0xE0000 && r <= 0xE007F:
		return true
	}
	return false
}

// bodyText returns the text that a chat shows for a message's body: its "text",
// or all of the body if another kind of program made it.
func bodyText(body any) string {
	switch body := body.(type) {
	case string:
		return body
	case map[string]any:
		if text, ok := body["text"].(string); ok {
			return text
		}
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(body); err != nil {
		return "(a body that cannot be shown)"
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// cells measures and cuts text by the cells that it takes on a terminal: two
// for a wide character, none for a combining mark. The zero value adds up code
// points, as most terminals do; graphemeCells is for those that join a cluster
// into one character.
type cells struct{ method ansi.Method }

var graphemeCells = cells{ansi.GraphemeWidth}

func (c cells) width(text string) int { return c.method.StringWidth(text) }

// cut shortens text to width cells, tail included, which marks the cut.
func (c cells) cut(text string, width int, tail string) string {
	return c.method.Truncate(text, max(width, 0), tail)
}

// wrap breaks text into lines of at most width cells, at spaces where it can.
func (c cells) wrap(text string, width int) []string {
	var lines []string
	for line := range strings.SplitSeq(text, "\n") {
		lines = append(lines, strings.Split(c.method.Wrap(line, max(width, 1), ""), "\n")...)
	}
	return lines
}

// pad fills text with spaces to width cells, or cuts it there.
func (c cells) pad(text string, width int) string {
	if w := c.width(text); w < width {
		return text + strings.Repeat(" ", width-w)
	}
	return c.cut(text, width, "…")
}

// A palette colours text, unless it is false.
type palette bool

func (p palette) sgr(code, text string) string {
	if !p || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (p palette) dim(text string) string    { return p.sgr("2", text) }
func (p palette) accent(text string) string { return p.sgr("36", text) }
func (p palette) good(text string) string   { return p.sgr("32", text) }
func (p palette) bad(text string) string    { return p.sgr("31", text) }
func (p palette) bar(text string) string    { return p.sgr("7", text) }

// name colours text, with the same colour each time for the same user.
func (p palette) name(user, text string) string {
	h := fnv.New32a()
	h.Write([]byte(user))
	codes := []string{"1;32", "1;33", "1;34", "1;35", "1;36", "1;92", "1;94", "1;95", "1;96"}
	return p.sgr(codes[h.Sum32()%uint32(len(codes))], text)
}
