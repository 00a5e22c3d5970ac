package chatui

import (
	"errors"

	"github.com/belfry-im/belfry/client"
)

// What a chat with a store shows before the first login.

// showStored fills the screen with the conversations of the store, and opens the first one
// unless the user has named one. Without a store it does nothing.
func (m *model) showStored() {
	stored, err := m.net.Conversations(0, maxLogs)
	if err != nil {
		m.noteStoreFault(err)
		return
	}
	for _, c := range stored.List {
		l := m.log(c.Conv.String())
		l.lastSeq, l.readSeq, l.peerReadSeq, l.unread = c.LastSeq, c.ReadSeq, c.PeerReadSeq, c.Unread
		if c.Last != nil {
			if e, ok := entryOf(c.Last); ok {
				l.add(e)
			}
		}
	}
	if m.current == "" && len(stored.List) > 0 {
		m.current, m.guessed = stored.List[0].Conv.String(), true
	}
	if m.current != "" {
		m.storedPage(m.log(m.current))
	}
}

// listStored notes the conversations of the store, if there are any.
func (m *model) listStored() {
	stored, err := m.net.Conversations(0, 0)
	if err != nil {
		m.noteStoreFault(err)
	} else if len(stored.List) > 0 {
		m.listed(recents{list: stored.List})
	}
}

// storedPage adds the newest page of the store to a transcript, and reports whether there is a
// store.
func (m *model) storedPage(l *transcript) bool {
	page, err := m.net.LocalMessages(l.conv, client.Query{Limit: pageSize})
	if err != nil {
		m.noteStoreFault(err)
		return false
	}
	for i := range page.Messages {
		e, ok := entryOf(&page.Messages[i])
		if _, shown := l.find(e.seq); ok && !shown {
			l.add(e)
		}
	}
	return true
}

func (m *model) noteStoreFault(err error) {
	if !errors.Is(err, client.ErrNoStore) {
		m.note("%s", explain(err))
	}
}

// entryOf returns a message as it is shown, and false if its body cannot be read.
func entryOf(msg *client.Message) (entry, bool) {
	body, err := msg.BodyValue()
	return entry{seq: msg.Seq, from: msg.From, text: bodyText(body), time: msg.Time}, err == nil
}
