package chatui

import (
	"fmt"
	"strings"
	"time"

	"github.com/belfry-im/belfry/client"
)

// clockTime returns the time of day as text, with the date if that is not
// today's.
func clockTime(ms int64, now time.Time) string {
	t := time.UnixMilli(ms).In(now.Location())
	if t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return t.Format("15:04")
	}
	return t.Format("2 Jan 15:04")
}

// line returns an entry on one line, for line mode.
func (m *model) line(l *transcript, e entry) string {
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

// A screen is the size and look of a full screen, and what it shows beside the
// model.
type screen struct {
	width, height int
	cells         cells
	colours       palette
	now           time.Time
	scrolled      int // lines that the view stands above the end
	draft         string
}

// render draws the screen, exactly s.height lines of at most s.width cells:
// a bar, the messages, notes, the state of the peer, the line being entered.
func (m *model) render(s screen) []string {
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
	screen = screen[max(len(screen)-s.height, 0):]
	for i, line := range screen {
		screen[i] = s.cells.cut(line, s.width, "")
	}
	return screen
}

// clampScroll returns how many lines a view of room lines is scrolled up,
// within a text of n lines.
func (s screen) clampScroll(n, room int) int {
	return max(min(s.scrolled, n-room), 0)
}

// renderBar draws the bar: the conversation, what is new in others, and the
// state of the connection.
func (m *model) renderBar(s screen) string {
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
	right := " " + m.connection() + " "
	room := s.width - s.cells.width(right)
	if room < 8 {
		return s.colours.bar(s.cells.pad(left, s.width))
	}
	return s.colours.bar(s.cells.pad(left, room) + right)
}

// connection describes the state of the connection.
func (m *model) connection() string {
	switch {
	case m.state == client.StateOnline:
		return "online"
	case m.synced:
		return "offline"
	}
	return "connecting"
}

func (m *model) renderNotes(s screen) []string {
	var lines []string
	for _, note := range m.notes {
		for _, line := range s.cells.wrap(printable(note), s.width) {
			lines = append(lines, s.colours.accent(line))
		}
	}
	// Some lines are left for the messages.
	return lines[max(len(lines)-max(s.height-6, 1), 0):]
}

func (m *model) renderStatus(s screen) string {
	l := m.logs[m.current]
	switch {
	case s.scrolled > 0:
		return s.colours.dim("── scrolled back; End returns ──")
	case m.connection() == "offline":
		return s.colours.bad("no connection; what you write goes out later")
	case l != nil && l.typingUntil > s.now.UnixMilli():
		return s.colours.dim(peer(l.conv) + " is typing…")
	}
	return ""
}

// renderLog draws the messages of the conversation on the screen.
func (m *model) renderLog(s screen) []string {
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
// behind the last line.
func (m *model) renderEntry(s screen, l *transcript, e entry) []string {
	c := s.colours
	head := time.UnixMilli(e.time).In(s.now.Location()).Format("15:04") + " "
	indent := s.cells.width(head) + s.cells.width(e.from) + 2
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
	room := s.width - indent
	if mark != "" {
		room -= s.cells.width(" ✓✓")
	}
	body := s.cells.wrap(text, room)
	name := c.dim(head) + c.name(e.from, e.from) + "  "
	var lines []string
	if indent == 2 {
		lines = append(lines, s.cells.cut(name, s.width, "…"))
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

func (m *model) paintMark(c palette, mark string) string {
	switch mark {
	case "✓✓":
		return c.good(mark)
	case "✗":
		return c.bad(mark)
	}
	return c.dim(mark)
}
