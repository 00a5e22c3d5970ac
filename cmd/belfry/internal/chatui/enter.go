package chatui

import (
	"context"
	"strings"
	"time"

	"github.com/belfry-im/belfry/client"
	"github.com/belfry-im/belfry/cmd/belfry/internal/cli"
)

// enter carries out a line that the user entered, and returns jobs to run for
// it.
func (m *model) enter(line string) []job {
	in, err := parseInput(line)
	if err != nil {
		m.note("%s", err)
		return nil
	}
	switch in.command {
	case "":
		if in.text == "" {
			return nil
		}
		return m.send(in.text)
	case "to":
		conv, _ := parseConv(in.text) // parsed before
		return m.open(conv)
	case "list":
		return []job{func(ctx context.Context) any {
			list, err := m.net.Recents(ctx)
			return recents{list.Conversations, err}
		}}
	case "help":
		for _, line := range help() {
			m.note("%s", line)
		}
		return nil
	case "quit":
		m.quit = true
		return nil
	case "block", "unblock":
		return m.block(in.command == "block", in.text)
	case "group":
		return m.makeGroup(in.text, in.users)
	case "join":
		return m.joinGroup(in.text)
	}

	if m.current == "" {
		m.note("With whom? Say /to USER first.")
		return nil
	}
	switch in.command {
	case "history":
		return m.older(in.n)
	case "recall":
		return m.recallLast()
	case "read":
		m.log(m.current).firstNew = 0
		return m.markRead(m.current)
	case "add", "members", "mute", "unmute", "ban", "unban", "muteall", "unmuteall", "own", "leave":
		return m.inGroup(in)
	}
	return nil
}

// send queues a message at once, so that messages go out in the order in which
// they were entered, and returns a job that waits for the answer.
func (m *model) send(text string) []job {
	if m.current == "" {
		m.note("To whom? Say /to USER first.")
		return nil
	}
	conv := m.current
	out, err := m.net.Queue(conv, map[string]any{"text": text}, client.SendOptions{})
	if err != nil {
		m.note("Not sent: %s", explain(err))
		return nil
	}
	m.sending[out.CID()] = out
	m.guessed, m.lastTyping = false, time.Time{}
	l := m.log(conv)
	l.firstNew = 0
	l.add(entry{cid: out.CID(), from: m.me, text: text, time: time.Now().UnixMilli()})
	return []job{func(ctx context.Context) any {
		result, err := out.Wait(ctx)
		return sendResult{conv, out.CID(), result, err}
	}}
}

// sendTyping tells the peer that the user types, at most every typingEvery.
func (m *model) sendTyping(now time.Time) {
	if m.current != "" && m.state == client.StateOnline && now.Sub(m.lastTyping) >= typingEvery {
		m.lastTyping = now
		m.net.Typing(m.current)
	}
}

func (m *model) older(n int) []job {
	l := m.log(m.current)
	if l.complete {
		m.note("That is all there is.")
		return nil
	}
	q := client.Query{Before: l.oldest(), Limit: n}
	if !l.loaded { // line mode: what has just come is history, too
		q.Before, l.loaded = 0, true
	}
	return []job{m.fetch(l.conv, q)}
}

func (m *model) recallLast() []job {
	l := m.log(m.current)
	seq, ok := l.lastOwn(m.me)
	if !ok {
		m.note("There is no message of yours to take back.")
		return nil
	}
	return []job{func(ctx context.Context) any {
		err := m.net.Recall(ctx, l.conv, seq)
		return done{what: "Taken back.", err: err, then: func() { l.recall(m.me, seq, seq, "") }}
	}}
}

func (m *model) block(on bool, user string) []job {
	if user == "" {
		if m.current == "" {
			m.note("Whom? Say /block USER.")
			return nil
		}
		if strings.HasPrefix(m.current, groupConv) {
			m.note("Whom of them? Say /block USER.")
			return nil
		}
		user = peer(m.current)
	}
	return []job{func(ctx context.Context) any {
		if on {
			return done{what: user + " is blocked; /unblock " + user + " undoes it.", err: m.net.Block(ctx, user)}
		}
		return done{what: user + " is no longer blocked.", err: m.net.Unblock(ctx, user)}
	}}
}

// listed adds a note for each of the recent conversations.
func (m *model) listed(e recents) {
	if e.err != nil {
		m.note("%s", explain(e.err))
		return
	}
	if len(e.list) == 0 {
		m.note("No conversations yet.")
	}
	for _, c := range e.list {
		unread := ""
		if c.Unread > 0 {
			unread = cli.Plural(c.Unread, "new message")
		}
		m.note("%-16s  %s  %s", peer(c.Conv.String()), clockTime(c.Time, time.Now()), unread)
	}
}
