package client

import (
	"fmt"
	"slices"

	"github.com/belfry-im/belfry/client/store"
	"github.com/belfry-im/belfry/gateway/protocol"
)

// The protocol's types that an application is given.
type (
	// Message is one message, see its fields in package protocol. The server's paths share
	// the type, so ID is an array and CID bytes: m.ID.String() and string(m.CID) are the
	// text that SendOptions and SendResult have.
	Message             = protocol.Message
	Conversation        = protocol.Conversation
	ConversationList    = protocol.ConversationsOK
	Page                = protocol.PageOK
	Synced              = protocol.Synced
	ReadReport          = protocol.ReadReport
	ReadReceipt         = protocol.ReadReceipt
	Recall              = protocol.Recall
	MessagesDeleted     = protocol.MessageDeleted
	ConversationDeleted = protocol.ConversationDeleted
	ConversationChanged = protocol.ConversationChanged
	Blocked             = protocol.Blocked
	GroupEvent          = protocol.GroupEvent
	Typing              = protocol.Typing
	Presence            = protocol.Presence
	UserPresence        = protocol.UserPresence
	Limits              = protocol.SessionLimits
)

// event returns the event that calls the handler of a push. Its run is nil when
// there is nothing to call: the application has no handler, or a later server
// pushes what is unknown here. A kick is returned as a *KickedError.
func (s *session) event(f *protocol.ServerFrame) (event, error) {
	cfg := &s.c.cfg
	switch f.Op {
	case protocol.OpOnNewMessage:
		if s.c.disk != nil {
			return s.keptMessages(f)
		}
		return eventOf(f, eventFrame, s.deliver)
	case protocol.OpOnConversations:
		if s.c.disk != nil {
			return keptEvent(s, f, func(_ *store.Tx, p *protocol.SyncedPart) { s.parts.Add(p) }, nil)
		}
		return eventOf(f, eventFrame, func(p protocol.SyncedPart) { s.parts.Add(&p) })
	case protocol.OpOnSynced:
		if s.c.disk != nil {
			return keptEvent(s, f, s.keepSynced, s.keptSynced)
		}
		return eventOf(f, eventFrame, s.synced)
	case protocol.OpOnReadReport:
		return keptEvent(s, f, s.keepRead, cfg.OnReadReport)
	case protocol.OpOnReadReceipt:
		return keptEvent(s, f, s.keepReceipt, cfg.OnReadReceipt)
	case protocol.OpOnRecall:
		return keptEvent(s, f, s.keepRecall, cfg.OnRecall)
	case protocol.OpOnMessageDeleted:
		return keptEvent(s, f, s.keepMessagesDeleted, cfg.OnMessagesDeleted)
	case protocol.OpOnConversationDeleted:
		return keptEvent(s, f, s.keepConversationDeleted, cfg.OnConversationDeleted)
	case protocol.OpOnConversationChanged:
		return keptEvent(s, f, s.keepChanged, cfg.OnConversationChanged)
	case protocol.OpOnBlocked:
		return eventOf(f, eventFrame, cfg.OnBlocked)
	case protocol.OpOnGroupEvent:
		if s.c.disk != nil {
			return keptEvent(s, f, s.keepGroupEvent, cfg.OnGroupEvent)
		}
		return eventOf(f, eventFrame, s.groupEvent)
	case protocol.OpOnTyping:
		return eventOf(f, eventSignal, cfg.OnTyping)
	case protocol.OpOnPresence:
		return eventOf(f, eventSignal, cfg.OnPresence)
	case protocol.OpOnKicked:
		var p protocol.Kicked
		if err := f.Decode(&p); err != nil {
			return event{}, fmt.Errorf("client: %s: %w", f.Op, err)
		}
		return event{}, &KickedError{Reason: p.Reason}
	}
	return event{}, nil
}

// eventOf decodes the payload of f for handler. The event is empty if handler is
// nil.
func eventOf[T any, P interface {
	*T
	payload
}](f *protocol.ServerFrame, kind eventKind, handler func(T)) (event, error) {
	if handler == nil {
		return event{}, nil
	}
	var push T
	if err := P(&push).Decode(f.Payload); err != nil {
		return event{}, fmt.Errorf("client: %s: %w", f.Op, err)
	}
	return event{kind: kind, run: func() { handler(push) }}, nil
}

// deliver calls OnMessages with the messages that are new to this device. Only
// when that has returned does it move the cursor and acknowledge them: had the
// application crashed before, they would be pushed again.
func (s *session) deliver(p protocol.NewMessage) {
	c := s.c
	fresh := make([]Message, 0, len(p.Messages))
	for i := range p.Messages {
		m := &p.Messages[i]
		switch {
		case m.Ephemeral: // stored nowhere: it cannot come again
		case !c.had.add(m.ID):
			continue
		case m.From == s.user && c.out.settle(m, 0):
			continue // the answer to a send of this very client
		}
		fresh = append(fresh, *m)
	}
	if len(fresh) > 0 && c.cfg.OnMessages != nil {
		c.cfg.OnMessages(fresh)
	}
	if p.Skipped > 0 && c.cfg.OnSkipped != nil {
		c.cfg.OnSkipped(p.Skipped)
	}
	c.had.move(p.Cursor, p.GroupCursors)
	s.acknowledge(p.D)
}

func (s *session) groupEvent(p GroupEvent) {
	s.endLive(&p)
	if s.c.cfg.OnGroupEvent != nil {
		s.c.cfg.OnGroupEvent(p)
	}
	if p.Cursor != "" {
		s.c.had.move("", []protocol.GroupCursor{{Group: p.Group, Cursor: p.Cursor}})
	}
}

// endLive keeps a live group from being joined again that is no more, or that the user was
// taken out of.
func (s *session) endLive(p *GroupEvent) {
	if p.Event == protocol.EventDismissed || p.Event == protocol.EventRemoved && slices.Contains(p.Users, s.user) {
		s.c.forgetLive(p.Group)
	}
}

// acknowledge lets the writer ack d. While further events wait for handlers, the
// ack is left to the frames behind it, until a quarter of the window is unacked:
// the server must not have to stop pushing.
func (s *session) acknowledge(d uint64) {
	s.handled.Store(d)
	if s.c.in.empty() || d-s.acked.Load() >= uint64(s.limits.Window)/4 {
		s.c.out.signal()
	}
}

// acknowledgeRest is called after each event: behind the last one there is nothing that
// acknowledge could have left an ack to.
func (c *Client) acknowledgeRest() {
	if !c.in.empty() {
		return
	}
	c.mu.Lock()
	s := c.session
	c.mu.Unlock()
	if s != nil && s.handled.Load() > s.acked.Load() {
		c.out.signal()
	}
}

func (s *session) synced(p protocol.Synced) {
	s.parts.Complete(&p)
	s.parts = protocol.SyncedPart{}
	if s.c.cfg.OnSynced != nil {
		s.c.cfg.OnSynced(p)
	}
	s.c.had.move(p.Cursor, groupCursors(&p))
}

// groupCursors returns the cursors of groups in the lists of an onSynced.
func groupCursors(p *protocol.Synced) (groups []protocol.GroupCursor) {
	for _, list := range [][]protocol.Conversation{p.Conversations, p.Groups} {
		for _, c := range list {
			if c.Conv.Group && c.Cursor != "" {
				groups = append(groups, protocol.GroupCursor{Group: c.Conv.ID, Cursor: c.Cursor})
			}
		}
	}
	return groups
}
