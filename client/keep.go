package client

import (
	"fmt"

	"github.com/belfry-im/belfry/client/store"
	"github.com/belfry-im/belfry/gateway/protocol"
)

// keptEvent returns the event of a push that keep writes into the store, if there is one,
// before handler is called.
func keptEvent[T any, P interface {
	*T
	payload
}](s *session, f *protocol.ServerFrame, keep func(*store.Tx, *T), handler func(T)) (event, error) {
	if s.c.disk == nil {
		return eventOf[T, P](f, eventFrame, handler)
	}
	push := new(T)
	if err := P(push).Decode(f.Payload); err != nil {
		return event{}, fmt.Errorf("client: %s: %w", f.Op, err)
	}
	e := event{kind: eventFrame, from: s, keep: func(t *store.Tx) { keep(t, push) }}
	e.run = func() {
		if handler != nil {
			handler(*push)
		}
	}
	return e, nil
}

// keptMessages is the event of an onNewMessage with a store.
func (s *session) keptMessages(f *protocol.ServerFrame) (event, error) {
	var fresh []Message
	var number uint64
	return keptEvent(s, f,
		func(t *store.Tx, p *protocol.NewMessage) { fresh, number = s.keepMessages(t, p) },
		func(p protocol.NewMessage) {
			s.c.handle(number, fresh, s.c.cfg.OnMessages)
			if p.Skipped > 0 && s.c.cfg.OnSkipped != nil {
				s.c.cfg.OnSkipped(p.Skipped)
			}
			s.acknowledge(p.D)
		})
}

// keepMessages stores the messages of a frame, and with them the cursor and which are to
// be passed to the application. It returns these and the number of the delivery, 0 if
// nothing of it is stored.
func (s *session) keepMessages(t *store.Tx, p *protocol.NewMessage) (fresh []Message, number uint64) {
	c := s.c
	var refs []store.Ref
	var last protocol.Conv
	stores, current := false, c.isCurrent(s)
	for i := range p.Messages {
		m := &p.Messages[i]
		if m.Conv != last {
			last, stores = m.Conv, c.disk.stores(m.Conv)
			if current && stores {
				c.disk.knowTail(m.Conv)
			}
		}
		own := m.From == s.user && (c.out.settle(m, s.login) || c.had.has(m.ID))
		switch {
		case m.Ephemeral:
		case m.Seq == 0 || !stores:
			if own || c.had.has(m.ID) {
				continue
			}
		case !t.Receive(m, s.user, s.login, !c.cfg.ManualRead), own:
			continue
		default:
			if n := len(refs); n > 0 && refs[n-1].Conv == m.Conv && refs[n-1].To+1 == m.Seq {
				refs[n-1].To++
			} else {
				refs = append(refs, store.Ref{Conv: m.Conv, From: m.Seq, To: m.Seq})
			}
		}
		fresh = append(fresh, *m)
	}
	if len(refs) > 0 && c.cfg.OnMessages != nil {
		number = t.AddDelivery(refs)
		if s.firstDelivery == 0 {
			s.firstDelivery = number
		}
	}
	t.MoveCursor(p.Cursor, p.GroupCursors)
	return fresh, number
}

func (s *session) keepSynced(t *store.Tx, p *protocol.Synced) {
	s.parts.Complete(p)
	s.parts = protocol.SyncedPart{}
	switch {
	case len(p.ResetGroups) > 0:
		for _, g := range p.ResetGroups {
			conv := protocol.GroupConv(g)
			t.ResetConv(conv, s.login)
			s.c.disk.noteReset(conv, s.login)
		}
	case p.Reset:
		t.Reset(s.login, s.firstDelivery)
		s.c.disk.noteReset(allConvs, s.login)
	}
	t.Synced(p, s.user, !s.c.cfg.ManualRead)
	for conv, r := range s.c.disk.takeRead(s.login) {
		t.Confirm(conv, r.seq, r.unread, s.user)
	}
	t.MoveCursor(p.Cursor, groupCursors(p))
}

// keptSynced calls OnSynced, for which the lists are whole.
func (s *session) keptSynced(p protocol.Synced) {
	if s.c.isCurrent(s) {
		s.c.disk.synced(&p, s.since, s.groups)
	}
	if s.c.cfg.OnSynced != nil {
		s.c.cfg.OnSynced(p)
	}
}

func (s *session) keepRead(t *store.Tx, p *protocol.ReadReport) {
	if s.c.disk.stores(p.Conv) {
		t.Read(p.Conv, p.Seq, s.user)
	}
}

func (s *session) keepReceipt(t *store.Tx, p *protocol.ReadReceipt) {
	if s.c.disk.stores(p.Conv) {
		t.Receipt(p.Conv, p.Seq)
	}
}

func (s *session) keepRecall(t *store.Tx, p *protocol.Recall) {
	if s.c.disk.stores(p.Conv) {
		t.Recall(p, s.user)
	}
}

func (s *session) keepMessagesDeleted(t *store.Tx, p *protocol.MessageDeleted) {
	if s.c.disk.stores(p.Conv) {
		t.DeleteMessages(p.Conv, p.Seqs, s.user)
	}
}

func (s *session) keepConversationDeleted(t *store.Tx, p *protocol.ConversationDeleted) {
	if s.c.disk.stores(p.Conv) {
		t.DeleteConversation(p.Conv, p.UpTo, p.Messages, s.user)
	}
}

func (s *session) keepChanged(t *store.Tx, p *protocol.ConversationChanged) {
	if s.c.disk.stores(p.Conv) {
		t.Change(p)
	}
}

func (s *session) keepGroupEvent(t *store.Tx, p *protocol.GroupEvent) {
	s.endLive(p)
	conv := protocol.GroupConv(p.Group)
	ended := p.Event == protocol.EventDismissed
	for _, user := range p.Users {
		ended = ended || user == s.user && (p.Event == protocol.EventLeft || p.Event == protocol.EventRemoved)
	}
	if ended {
		t.Unlist(conv)
	}
	switch p.Event {
	case protocol.EventCreated, protocol.EventJoined, protocol.EventChanged:
		if s.c.disk.stores(conv) {
			t.Count(conv, p.Uncounted, s.user)
		}
	}
	if p.Cursor != "" {
		t.MoveCursor("", []protocol.GroupCursor{{Group: p.Group, Cursor: p.Cursor}})
	}
}
