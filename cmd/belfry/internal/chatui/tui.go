package chatui

import (
	"context"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
)

// A tui is a chat on a whole terminal. It implements tea.Model.
type tui struct {
	model  *model
	ctx    context.Context // of the jobs
	screen screen
	editor editor
}

const prompt = "> "

func (t *tui) Init() tea.Cmd { return nil }

// Update handles one key press, resize or event of the model.
func (t *tui) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	var jobs []job
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		t.screen.width, t.screen.height = msg.Width, msg.Height
	case tea.ModeReportMsg:
		// The renderer asks for this mode and then measures text by it, so the chat
		// must do the same.
		if msg.Mode == ansi.ModeUnicodeCore && (msg.Value.IsSet() || msg.Value.IsReset() || msg.Value.IsPermanentlySet()) {
			t.screen.cells = graphemeCells
		}
	case tea.KeyPressMsg:
		jobs = t.press(msg)
	case tea.PasteMsg:
		t.insert(msg.Content)
	case tea.MouseWheelMsg:
		if msg.Button == tea.MouseWheelUp {
			t.scroll(3)
		} else {
			t.scroll(-3)
		}
	default:
		jobs = t.model.apply(msg)
	}
	if t.model.quit {
		return t, tea.Quit
	}
	var cmds []tea.Cmd
	for _, job := range jobs {
		cmds = append(cmds, func() tea.Msg { return job(t.ctx) })
	}
	return t, tea.Batch(cmds...)
}

func (t *tui) press(msg tea.KeyPressMsg) []job {
	key := msg.Keystroke()
	page := max(t.screen.height-4, 1)
	switch key {
	case "ctrl+c":
		t.model.quit = true
	case "ctrl+d":
		t.model.quit = t.editor.text() == ""
	case "enter":
		t.model.notes = nil
		t.screen.scrolled = 0
		return t.model.enter(t.editor.enter())
	case "esc":
		t.model.notes = nil
	case "tab":
		t.editor.set(completeInput(t.editor.text(), t.model.peers()))
	case "pgup":
		t.scroll(page)
	case "pgdown":
		t.scroll(-page)
	case "end":
		t.screen.scrolled = 0
		t.editor.press(key)
	default:
		if !t.editor.press(key) && msg.Text != "" {
			t.insert(msg.Text)
		}
	}
	return nil
}

func (t *tui) insert(text string) {
	t.editor.insert(text)
	if !strings.HasPrefix(t.editor.text(), "/") {
		t.model.sendTyping(time.Now())
	}
}

// scroll moves the view up by n lines, down if n is negative, at most to
// either end.
func (t *tui) scroll(n int) {
	lines := len(t.model.renderLog(t.screen))
	room := max(t.screen.height-3-len(t.model.renderNotes(t.screen)), 0)
	t.screen.scrolled = max(t.screen.scrolled+n, 0)
	t.screen.scrolled = t.screen.clampScroll(lines, room)
}

func (t *tui) View() tea.View {
	t.screen.now = time.Now()
	draft, cursor := t.editor.show(t.screen.cells, prompt, t.screen.width)
	t.screen.draft = draft
	v := tea.NewView(strings.Join(t.model.render(t.screen), "\n"))
	v.AltScreen = true
	v.MouseMode = tea.MouseModeCellMotion
	v.WindowTitle = "belfry: " + t.model.me
	v.Cursor = tea.NewCursor(cursor, max(t.screen.height-1, 0))
	v.Cursor.Blink = false
	return v
}
