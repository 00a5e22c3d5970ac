package chatui

import (
	"strings"

	"github.com/charmbracelet/x/ansi"
)

const (
	maxDraft  = 8 << 10 // bytes of the line being entered; more is not taken in
	maxDrafts = 100     // lines that the arrow up brings back
)

// An editor holds the line being entered. Its cursor moves by what looks like
// one character, however many code points that is.
type editor struct {
	left, right string // of the cursor
	past        []string
	at          int // in past, len(past) = the line that is new
	fresh       string
}

func (e *editor) text() string { return e.left + e.right }

func (e *editor) set(text string) { e.left, e.right = text, "" }

// insert inserts at the cursor what was typed or pasted, as one line.
func (e *editor) insert(text string) {
	text = printableLine(text)
	if len(e.left)+len(text)+len(e.right) <= maxDraft {
		e.left += text
	}
}

// enter returns the line and begins an empty one.
func (e *editor) enter() string {
	line := e.text()
	e.set("")
	if strings.TrimSpace(line) != "" && (len(e.past) == 0 || e.past[len(e.past)-1] != line) {
		e.past = append(e.past, line)
		e.past = e.past[max(len(e.past)-maxDrafts, 0):]
	}
	e.at, e.fresh = len(e.past), ""
	return line
}

// press carries out an editing key. It reports whether key is one.
func (e *editor) press(key string) bool {
	switch key {
	case "left", "ctrl+b":
		c := last(e.left)
		e.left, e.right = strings.TrimSuffix(e.left, c), c+e.right
	case "right", "ctrl+f":
		c := first(e.right)
		e.left, e.right = e.left+c, strings.TrimPrefix(e.right, c)
	case "home", "ctrl+a":
		e.left, e.right = "", e.text()
	case "end", "ctrl+e":
		e.set(e.text())
	case "backspace", "ctrl+h":
		e.left = strings.TrimSuffix(e.left, last(e.left))
	case "delete":
		e.right = strings.TrimPrefix(e.right, first(e.right))
	case "ctrl+w", "alt+backspace":
		word := strings.TrimRight(e.left, " ")
		e.left = word[:strings.LastIndexByte(word, ' ')+1]
	case "ctrl+u":
		e.left = ""
	case "ctrl+k":
		e.right = ""
	case "up", "ctrl+p":
		e.recall(-1)
	case "down", "ctrl+n":
		e.recall(1)
	default:
		return false
	}
	return true
}

// recall replaces the line by an earlier or later one of past; behind the
// newest comes the line that was being entered.
func (e *editor) recall(by int) {
	at := e.at + by
	if at < 0 || at > len(e.past) {
		return
	}
	if e.at == len(e.past) {
		e.fresh = e.text()
	}
	e.at = at
	if at == len(e.past) {
		e.set(e.fresh)
	} else {
		e.set(e.past[at])
	}
}

// show draws the line behind a prompt into width cells, and returns the cell of
// the cursor. Of a line that is too long it shows the part around the cursor.
func (e *editor) show(c cells, prompt string, width int) (line string, cursor int) {
	room := width - c.width(prompt) - 1
	if room < 1 {
		return c.cut(prompt, width, ""), 0
	}
	left := e.left
	if over := c.width(left) - room; over > 0 {
		left = c.method.TruncateLeft(left, over+1, "…")
	}
	return c.cut(prompt+left+e.right, width, "…"), c.width(prompt + left)
}

// first returns the first character of s, as it looks.
func first(s string) string {
	c, _ := ansi.FirstGraphemeCluster(s, ansi.GraphemeWidth)
	return c
}

// last returns the last character of s, as it looks. Where characters begin can
// only be told from the start of the text.
func last(s string) string {
	c := ""
	for s != "" {
		c = first(s)
		s = s[len(c):]
	}
	return c
}
