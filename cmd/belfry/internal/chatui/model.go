package chatui

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/belfry-im/belfry/client"
)

const (
	// typingShown is how long the screen shows that a peer types after the peer's last
	// notice, and typingEvery the least time between two notices of ours.
	typingShown = 5 * time.Second
	typingEvery = 3 * time.Second
)

// A model is the state of a chat. One goroutine owns it, and passes it the lines that the
// user enters and all events of the client. That goroutine starts the jobs that the model
// returns; each job runs beside it and ends with one more event.
type model struct {
	me      string
	net     *client.Client
	talks   bool // line mode: notes show messages, too, as nothing else does
	logs    map[string]*transcript
	current string // conversation on the screen; empty = none yet
	guessed bool   // nobody has chosen it: the login may name another
	state   client.State
	offline bool // the user was told that the connection is down
	synced  bool
	notes   []string                    // for the user, newest last; whoever shows them clears them
	sending map[string]*client.Outgoing // by cid; messages without an answer
	quit    bool
	ended   error // the error with which the client ended

	lastTyping time.Time // when the peer was last told that I type
}

// A job is work that takes time. Its result is an event for apply.
type job func(context.Context) any

// Events that are not the client's own types.
type (
	incoming   []client.Message
	tick       struct{}
	sendResult struct {
		conv, cid string
		result    client.SendResult
		err       error
	}
	historyPage struct {
		conv string
		page client.Page
		err  error
	}
	recents struct {
		list []client.Conversation
		err  error
	}
	// done is the event of a job that has only an outcome.
	done struct {
		what string // note after success; may be empty
		err  error
		then func() // on success
	}
)

func newModel(me string) *model {
	return &model{me: me, logs: make(map[string]*transcript), sending: make(map[string]*client.Outgoing)}
}

// handlers sets the client's callbacks, which pass post the events for apply.
func (m *model) handlers(cfg *client.Config, post func(any)) {
	cfg.OnMessages = func(list []client.Message) { post(incoming(list)) }
	cfg.OnSynced = func(e client.Synced) { post(e) }
	cfg.OnReadReport = func(e client.ReadReport) { post(e) }
	cfg.OnReadReceipt = func(e client.ReadReceipt) { post(e) }
	cfg.OnRecall = func(e client.Recall) { post(e) }
	cfg.OnMessagesDeleted = func(e client.MessagesDeleted) { post(e) }
	cfg.OnConversationDeleted = func(e client.ConversationDeleted) { post(e) }
	cfg.OnGroupEvent = func(e client.GroupEvent) { post(e) }
	cfg.OnTyping = func(e client.Typing) { post(e) }
	cfg.OnState = func(e client.State) { post(e) }
}

// note adds a note, a line that is no message.
func (m *model) note(format string, args ...any) {
	m.notes = append(m.notes, "* "+fmt.Sprintf(format, args...))
}

// noteInLineMode is note in line mode. A screen shows the same by itself.
func (m *model) noteInLineMode(format string, args ...any) {
	if m.talks {
		m.note(format, args...)
	}
}

// noteMessage adds a note for a message in line mode, where nothing else shows messages.
func (m *model) noteMessage(l *transcript, e entry) {
	if m.talks {
		m.notes = append(m.notes, m.line(l, e))
	}
}

// stateChanged handles a change of the state of the connection.
func (m *model) stateChanged(state client.State) {
	m.state = state
	switch state {
	case client.StateOnline:
		if m.offline {
			m.offline = false
			m.noteInLineMode("Connected again.")
		}
	case client.StateWaiting:
		if !m.offline {
			m.offline = true
			m.noteInLineMode("No connection, trying again: %v", m.net.Err())
			if m.talks && !m.synced {
				m.listStored()
			}
		}
	case client.StateClosed:
		m.quit = true
		if err := m.net.Err(); !errors.Is(err, client.ErrClosed) {
			m.ended = err
		}
	}
}

// farewell waits until the messages that were entered are stored, at most farewellTime.
func (m *model) farewell(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, farewellTime)
	defer cancel()
	for _, out := range m.sending {
		out.Wait(ctx)
	}
}

// log returns the transcript of a conversation, and makes one if there is none. Past
// maxLogs it drops the transcript whose last message is the oldest.
func (m *model) log(conv string) *transcript {
	l := m.logs[conv]
	if l != nil {
		return l
	}
	if len(m.logs) >= maxLogs {
		recent := m.recent()
		delete(m.logs, recent[len(recent)-1].conv)
	}
	l = &transcript{conv: conv}
	m.logs[conv] = l
	return l
}

// recent lists the conversations, the one with the newest message first.
func (m *model) recent() []*transcript {
	last := func(l *transcript) int64 {
		if len(l.entries) == 0 {
			return 0
		}
		return l.entries[len(l.entries)-1].time
	}
	return slices.SortedFunc(maps.Values(m.logs), func(a, b *transcript) int {
		return cmp.Or(cmp.Compare(last(b), last(a)), cmp.Compare(a.conv, b.conv))
	})
}

// peers returns the users with whom there are conversations, for completion.
func (m *model) peers() []string {
	var names []string
	for _, l := range m.recent() {
		names = append(names, peer(l.conv))
	}
	return names
}

// apply handles one event, and returns jobs to run for it.
func (m *model) apply(event any) []job {
	switch e := event.(type) {
	case incoming:
		return m.received(e)
	case client.Synced:
		return m.syncedUp(e)
	case client.ReadReport:
		m.log(e.Conv.String()).read(m.me, e.Seq)
	case client.ReadReceipt:
		l := m.log(e.Conv.String())
		l.peerReadSeq = max(l.peerReadSeq, e.Seq)
		m.noteInLineMode("%s has read your messages ✓✓", peer(l.conv))
	case client.Recall:
		l := m.log(e.Conv.String())
		for _, r := range e.Ranges {
			l.recall(m.me, r.From, r.To, e.Sender)
		}
		if e.By != m.me {
			m.noteInLineMode("%s took a message back", e.By)
		}
	case client.MessagesDeleted:
		m.log(e.Conv.String()).remove(e.Seqs)
	case client.ConversationDeleted:
		if l := m.log(e.Conv.String()); e.Messages {
			l.entries = nil
		}
	case client.GroupEvent:
		m.groupNews(e)
	case client.Typing:
		return m.peerTypes(e)
	case client.State:
		m.stateChanged(e)
	case sendResult:
		m.sent(e)
	case historyPage:
		return m.loaded(e)
	case recents:
		m.listed(e)
	case done:
		switch {
		case e.err != nil:
			m.note("%s", explain(e.err))
		default:
			if e.then != nil {
				e.then()
			}
			if e.what != "" {
				m.note("%s", e.what)
			}
		}
	}
	return nil
}

func (m *model) received(list []client.Message) []job {
	for i := range list {
		msg := &list[i]
		conv := msg.Conv.String()
		l := m.log(conv)
		body, err := msg.BodyValue()
		text := bodyText(body)
		if err != nil {
			text = "(a body that cannot be read)"
		}
		e := entry{seq: msg.Seq, from: msg.From, text: text, time: msg.Time}
		l.add(e)
		if msg.From != m.me {
			l.typingUntil = 0
			if conv != m.current {
				l.unread++
			}
		}
		m.noteMessage(l, e)
	}
	switch {
	case m.current != "":
		return m.markRead(m.current)
	case m.synced && !m.talks: // the first to write is whom to answer
		m.notes = nil
		return m.open(list[0].Conv.String())
	}
	return nil
}

// syncedUp takes over the unread counts of the server, as of the login.
func (m *model) syncedUp(e client.Synced) []job {
	m.synced = true
	for _, c := range e.Conversations {
		l := m.log(c.Conv.String())
		l.lastSeq = max(l.lastSeq, c.LastSeq)
		l.readSeq = max(l.readSeq, c.ReadSeq)
		l.peerReadSeq = max(l.peerReadSeq, c.PeerReadSeq)
		l.unread = c.Unread
	}
	for _, lost := range e.Lost {
		m.note("%d messages from %s went past the limits of the offline queue; /history has them", lost.Count, peer(lost.Conv.String()))
	}
	if m.current != "" && !(m.guessed && len(e.Conversations) > 0) {
		return m.open(m.current)
	}
	if len(e.Conversations) > 0 && !m.talks {
		return m.open(e.Conversations[0].Conv.String())
	}
	if len(e.Conversations) == 0 {
		m.note("Nobody has written yet. /to USER begins a conversation, /help shows more.")
	}
	return nil
}

// open shows a conversation, loads its newest page once and marks it as read.
func (m *model) open(conv string) []job {
	if old := m.logs[m.current]; old != nil && conv != m.current {
		old.firstNew = 0
	}
	m.current, m.guessed = conv, false
	l := m.log(conv)
	if !m.synced && m.storedPage(l) {
		return nil // the rest comes with the login
	}
	var jobs []job
	if l.unread > 0 {
		l.firstNew = l.readSeq + 1
	}
	if !l.loaded && !m.talks { // line mode shows history only on request
		l.loaded = true
		jobs = append(jobs, m.fetch(conv, client.Query{Limit: pageSize}))
	}
	return append(jobs, m.markRead(conv)...)
}

func (m *model) fetch(conv string, q client.Query) job {
	return func(ctx context.Context) any {
		page, err := m.net.Messages(ctx, conv, q)
		return historyPage{conv, page, err}
	}
}

func (m *model) loaded(e historyPage) []job {
	l := m.log(e.conv)
	if e.err != nil {
		m.note("%s", explain(e.err))
		return nil
	}
	for i := range e.page.Messages {
		if entry, ok := entryOf(&e.page.Messages[i]); ok {
			l.add(entry)
			m.noteMessage(l, entry)
		}
	}
	if l.gapsFrom = e.page.From; !e.page.More {
		l.complete = true
	}
	return m.markRead(e.conv)
}

// markRead reports the conversation on the screen as read up to its newest.
func (m *model) markRead(conv string) []job {
	l := m.log(conv)
	if conv != m.current || !m.synced || l.lastSeq <= l.readSeq {
		return nil
	}
	seq := l.lastSeq
	l.read(m.me, seq)
	l.unread = 0
	return []job{func(ctx context.Context) any {
		_, err := m.net.ReadReport(ctx, conv, seq)
		if refused, ok := errors.AsType[*client.Error](err); ok && refused.Code == "not_found" {
			err = nil // nothing of it is left to be read
		}
		return done{err: err}
	}}
}

func (m *model) sent(e sendResult) {
	delete(m.sending, e.cid)
	l := m.log(e.conv)
	if errors.Is(e.err, client.ErrQueued) {
		return // it goes out the next time
	}
	if e.err != nil {
		why := explain(e.err)
		l.failed(e.cid, why)
		m.note("Not sent: %s", why)
		return
	}
	l.stored(e.cid, e.result.Seq, e.result.Time)
	// The user has seen what they answer; own messages are never unread.
	if l.unread == 0 {
		l.readSeq = max(l.readSeq, e.result.Seq)
	}
	if i, ok := l.find(e.result.Seq); ok {
		m.noteMessage(l, l.entries[i])
	}
}

func (m *model) peerTypes(e client.Typing) []job {
	if m.talks {
		return nil
	}
	m.log(e.Conv.String()).typingUntil = time.Now().Add(typingShown).UnixMilli()
	return []job{func(ctx context.Context) any {
		select {
		case <-time.After(typingShown):
		case <-ctx.Done():
		}
		return tick{}
	}}
}

// explain returns the text of an error for people.
func explain(err error) string {
	if refused, ok := errors.AsType[*client.Error](err); ok {
		switch refused.Code {
		case "too_late":
			return "it is too late for that"
		case "forbidden":
			return cmp.Or(refused.Message, "not allowed")
		}
		return cmp.Or(refused.Message, refused.Code)
	}
	return err.Error()
}
