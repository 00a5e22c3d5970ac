package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/belfry-im/belfry/client"
)

// clockTime is the time of day, with the date when it is not today's.
func clockTime(ms int64, now time.Time) string {
	t := time.UnixMilli(ms).In(now.Location())
	if t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return t.Format("15:04")
	}
	return t.Format("2 Jan 15:04")
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// line is an entry on one line, for line mode.
func (m *chatModel) line(l *chatLog, e chatEntry) string {
	from := e.from
	switch {
	case e.from == m.me && strings.HasPrefix(l.conv, "u:"):
		from += " → " + peer(l.conv)
	case strings.HasPrefix(l.conv, "g:"):
		from += " in " + l.conv
	}
	text := printable(e.text)
	if e.recalled {
		text = "(taken back)"
	}
	line := clockTime(e.time, time.Now()) + " " + from + ": " + strings.ReplaceAll(text, "\n", "\n      ")
	if mark := l.mark(m.me, e); mark != "" {
		line += " " + mark
	}
	return line
}

// A chatScreen is the size and look of a full screen, and what is on it beside
// the model's own.
type chatScreen struct {
	width, height int
	colours       palette
	now           time.Time
	scrolled      int // lines that the view stands above the end
	draft         string
}

// render draws the screen, exactly s.height lines of at most s.width cells:
// a bar, the messages, notes, the state of the peer, the line being entered.
func (m *chatModel) render(s chatScreen) []string {
	notes := m.renderNotes(s)
	room := max(s.height-3-len(notes), 0)
	lines := m.renderLog(s)
	last := max(len(lines)-s.clampScroll(len(lines), room), 0)
	lines = lines[max(last-room, 0):last]

	screen := make([]string, 0, s.height)
	screen = append(screen, m.renderBar(s))
	for range room - len(lines) {
		screen = append(screen, "")
	}
	screen = append(screen, lines...)
	screen = append(screen, notes...)
	screen = append(screen, m.renderStatus(s), s.draft)
	return screen[max(len(screen)-s.height, 0):]
}

// clampScroll keeps a view of room lines inside a text of n.
func (s chatScreen) clampScroll(n, room int) int {
	return max(min(s.scrolled, n-room), 0)
}

// renderBar names the conversation, what is new elsewhere, and the connection.
func (m *chatModel) renderBar(s chatScreen) string {
	left := " " + m.me
	if m.current != "" {
		left += " → " + peer(m.current)
	}
	var elsewhere []string
	for _, l := range m.recent() {
		if l.conv != m.current && l.unread > 0 {
			elsewhere = append(elsewhere, fmt.Sprintf("%s (%d)", peer(l.conv), l.unread))
		}
	}
	if len(elsewhere) > 0 {
		left += "   new: " + strings.Join(elsewhere, ", ")
	}
	right := " " + m.state.String() + " "
	room := s.width - ansi.StringWidth(right)
	if room < 8 {
		return s.colours.bar(pad(left, s.width))
	}
	return s.colours.bar(pad(left, room) + right)
}

func (m *chatModel) renderNotes(s chatScreen) []string {
	var lines []string
	for _, note := range m.notes {
		for _, line := range wrap(printable(note), s.width) {
			lines = append(lines, s.colours.accent(line))
		}
	}
	// Half of the screen stays with the messages.
	return lines[max(len(lines)-s.height/2, 0):]
}

func (m *chatModel) renderStatus(s chatScreen) string {
	l := m.logs[m.current]
	switch {
	case s.scrolled > 0:
		return s.colours.dim(pad("── scrolled back; End returns ──", s.width))
	case m.state == client.StateWaiting || m.state == client.StateConnecting && m.synced:
		return s.colours.bad(pad("no connection; what you write goes out later", s.width))
	case l != nil && l.typingUntil > s.now.UnixMilli():
		return s.colours.dim(pad(peer(l.conv)+" is typing…", s.width))
	}
	return ""
}

// renderLog draws the messages of the conversation on the screen.
func (m *chatModel) renderLog(s chatScreen) []string {
	l := m.logs[m.current]
	if l == nil {
		return nil
	}
	var lines []string
	if l.complete {
		lines = append(lines, s.colours.dim("── the beginning of what is kept ──"))
	}
	newShown := l.firstNew == 0
	day := ""
	for _, e := range l.entries {
		if d := time.UnixMilli(e.time).In(s.now.Location()).Format("Monday, 2 January"); d != day {
			day = d
			lines = append(lines, s.colours.dim("── "+d+" ──"))
		}
		if !newShown && e.seq >= l.firstNew && e.from != m.me {
			newShown = true
			lines = append(lines, s.colours.bad("── new ──"))
		}
		lines = append(lines, m.renderEntry(s, l, e)...)
	}
	return lines
}

// renderEntry draws one message: time and name before its first line, its mark
// behind the last.
func (m *chatModel) renderEntry(s chatScreen, l *chatLog, e chatEntry) []string {
	c := s.colours
	head := time.UnixMilli(e.time).In(s.now.Location()).Format("15:04") + " "
	indent := ansi.StringWidth(head) + ansi.StringWidth(e.from) + 2
	if s.width < 3*indent {
		indent = 2 // a name that long would leave no room for the text
	}
	text, mark := printable(e.text), l.mark(m.me, e)
	if e.recalled {
		text, mark = "taken back", ""
	}
	if e.failed != "" {
		text += " (" + printableLine(e.failed) + ")"
	}
	const markWidth = 3
	body := wrap(text, s.width-indent-markWidth)
	name := c.dim(head) + c.name(e.from, e.from) + "  "
	var lines []string
	if indent == 2 {
		lines = append(lines, ansi.Truncate(name, s.width, "…"))
	}
	for i, line := range body {
		switch {
		case e.recalled:
			line = c.dim(line)
		case e.failed != "":
			line = c.bad(line)
		}
		if i == len(body)-1 && mark != "" {
			line += " " + m.paintMark(c, mark)
		}
		if i == 0 && indent != 2 {
			line = name + line
		} else {
			line = strings.Repeat(" ", indent) + line
		}
		lines = append(lines, line)
	}
	return lines
}

func (m *chatModel) paintMark(c palette, mark string) string {
	switch mark {
	case "✓✓":
		return c.good(mark)
	case "✗":
		return c.bad(mark)
	}
	return c.dim(mark)
}
