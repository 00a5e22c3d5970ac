package gateway

import (
	"slices"
	"sync"

	"github.com/belfry-im/belfry/gateway/enum"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/gateway/wire"
	"github.com/belfry-im/belfry/gateway/ws"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// pages is a pool: pages are large, and few are in use at a time.
var pages = sync.Pool{New: func() any { return new(query.Page) }}

func (s *session) getMessage(r request) error {
	var args protocol.GetMessageArgs
	if err := args.Decode(r.Args); err != nil {
		return err
	}
	q := query.HistoryQuery{
		User: s.user, Before: args.Before, After: args.After, HasAfter: args.HasAfter,
		From: args.From, To: args.To, Limit: args.Limit,
		MaxBytes: protocol.MaxPage, MaxGaps: protocol.MaxGaps, MaxSeqs: protocol.MaxPageSeqs,
	}
	if args.Conv.Group {
		if q.Group = command.GroupID(args.Conv.ID); s.inLive(q.Group) {
			s.reply(r, &protocol.PageOK{}) // the view is empty
			return nil
		}
	} else {
		q.Peer = command.UserID(args.Conv.ID)
	}
	if err := s.allowHistory(); err != nil {
		return err
	}
	page := pages.Get().(*query.Page)
	defer pages.Put(page)
	if err := r.reads.History(q, page); err != nil {
		return err
	}
	buf := ws.GetBuffer()
	defer ws.PutBuffer(buf)
	encoded := s.fitPage(page, buf)
	reply := &protocol.PageOK{
		Encoded:  encoded,
		Messages: wire.Messages(page.Updates.Messages), From: page.From, To: page.To,
		Gaps: make([]protocol.Gap, len(page.Gaps)), More: page.More,
	}
	for i, g := range page.Gaps {
		reply.Gaps[i] = protocol.Gap{From: g.From, To: g.To, Reason: enum.GapReasons.Word(g.Reason)}
	}
	s.reply(r, reply)
	return nil
}

// fitPage removes messages from the page until it fits a reply, but keeps at least one.
// If it had to encode the messages for that, it returns them, in buf; otherwise nil.
func (s *session) fitPage(page *query.Page, buf *[]byte) (encoded [][]byte) {
	room := protocol.MaxPage - protocol.PageTail(len(page.Gaps))
	if protocol.MaxMessagesSize(s.codec, len(page.Updates.Messages), page.Size) <= room {
		return nil
	}
	*buf = slices.Grow((*buf)[:0], protocol.MaxPage)
	for m := range page.InReadOrder {
		message, start := wire.Message(m), len(*buf)
		*buf = protocol.AppendMessage(*buf, s.codec, &message)
		if room -= len(*buf) - start; room < 0 && len(encoded) > 0 {
			page.KeepFirst(len(encoded))
			break
		}
		encoded = append(encoded, (*buf)[start:len(*buf):len(*buf)])
	}
	if page.Down {
		slices.Reverse(encoded)
	}
	return encoded
}
