package gateway

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/oklog/ulid/v2"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/shard"
)

// peerOf gives the other user of a one-to-one conversation. Groups have their
// place here: as none can be made yet, none exists.
func peerOf(conv protocol.Conv) (shard.UserID, error) {
	if conv.Group {
		return "", &refusal{code: protocol.CodeNotFound, message: "conv: group " + conv.ID + " does not exist"}
	}
	return shard.UserID(conv.ID), nil
}

// identity is what the shard knows a repeat of a changing request by.
func (s *session) identity(r request, cmd shard.Command) shard.Request {
	if r.ID == 0 {
		return shard.Request{}
	}
	if s.repeats == nil {
		s.repeats = new(repeats)
	}
	buf := buffers.Get().(*[]byte)
	defer putBuffer(buf)
	*buf = shard.AppendCommand((*buf)[:0], cmd)
	s.identified = r.ID
	return s.repeats.identity(r.ID, xxhash.Sum64(*buf))
}

func (s *session) send(r request) error {
	var args protocol.SendArgs
	if err := args.Decode(r.Args, s.gateway.config.MaxBody); err != nil {
		return err
	}
	to, err := peerOf(args.Conv)
	if err != nil {
		return err
	}
	b := s.gateway.backend
	if s.gateway.config.KnownUsersOnly && to != s.user {
		known, err := b.Exists(to)
		if err != nil {
			return err
		}
		if !known {
			return &refusal{code: protocol.CodeNotFound, message: "conv: there is no user " + args.Conv.ID}
		}
	}
	cmd := &shard.Send{
		User: s.user, Session: s.number, To: to, ID: newMessageID(b.Now()), CID: args.CID,
		Body: bytes.Clone(args.Body), // it may lie in the frame, and the store keeps the command for longer
		TTL:  args.TTL, Retry: args.Retry, Mentions: args.Mentions,
	}
	if args.HasTTL && args.TTL == 0 {
		at, err := b.SendEphemeral(cmd)
		if err != nil {
			return err
		}
		s.sent(r, shard.Result{ID: cmd.ID, Time: at})
		return nil
	}
	s.propose(r, cmd, func(result shard.Result) { s.sent(r, result) })
	return nil
}

// sent answers a send that was accepted.
func (s *session) sent(r request, result shard.Result) {
	ok := protocol.SendOK{ID: protocol.ID(result.ID), Seq: result.Seq, Time: result.Time, Duplicate: result.Duplicate}
	s.replyWith(r, func(b []byte) []byte { return protocol.AppendSendOK(b, s.codec, r.ID, &ok) })
	s.gateway.metrics.messagesIn.Inc()
	s.gateway.metrics.sendSeconds.Observe(time.Since(r.came).Seconds())
}

// newMessageID makes a ULID of the store's time. Ids of one millisecond do not
// ascend: what orders messages is their seq.
func newMessageID(nowMS int64) shard.MsgID {
	var id ulid.ULID
	binary.BigEndian.PutUint64(id[8:], rand.Uint64())
	binary.BigEndian.PutUint16(id[6:], uint16(rand.Uint32()))
	_ = id.SetTime(uint64(nowMS)) // fails from the year 10889 on
	return shard.MsgID(id)
}

func (s *session) readReport(r request) error {
	var args protocol.ReadReportArgs
	if err := args.Decode(r.Args); err != nil {
		return err
	}
	peer, err := peerOf(args.Conv)
	if err != nil {
		return err
	}
	cmd := &shard.ReadReport{User: s.user, Session: s.number, Peer: peer, Seq: args.Seq}
	cmd.Request = s.identity(r, cmd)
	s.propose(r, cmd, func(result shard.Result) { s.reply(r, &protocol.ReadReportOK{Unread: result.Unread}) })
	return nil
}

func (s *session) recall(r request) error {
	var args protocol.RecallArgs
	if err := args.Decode(r.Args); err != nil {
		return err
	}
	peer, err := peerOf(args.Conv)
	if err != nil {
		return err
	}
	cmd := &shard.Recall{User: s.user, Session: s.number, Peer: peer, Seq: args.Seq}
	cmd.Request = s.identity(r, cmd)
	s.propose(r, cmd, func(shard.Result) { s.reply(r, nil) })
	return nil
}

func (s *session) deleteMessage(r request) error {
	var args protocol.DeleteMessageArgs
	if err := args.Decode(r.Args); err != nil {
		return err
	}
	peer, err := peerOf(args.Conv)
	if err != nil {
		return err
	}
	cmd := &shard.DeleteMessages{User: s.user, Session: s.number, Peer: peer, Seqs: args.Seqs}
	cmd.Request = s.identity(r, cmd)
	s.propose(r, cmd, func(shard.Result) { s.reply(r, nil) })
	return nil
}

func (s *session) deleteConversation(r request) error {
	var args protocol.DeleteConversationArgs
	if err := args.Decode(r.Args); err != nil {
		return err
	}
	peer, err := peerOf(args.Conv)
	if err != nil {
		return err
	}
	cmd := &shard.DeleteConversation{User: s.user, Session: s.number, Peer: peer, Messages: args.Messages}
	cmd.Request = s.identity(r, cmd)
	s.propose(r, cmd, func(shard.Result) { s.reply(r, nil) })
	return nil
}

func (s *session) setConversation(r request) error {
	var args protocol.SetConversationArgs
	if err := args.Decode(r.Args); err != nil {
		return err
	}
	peer, err := peerOf(args.Conv)
	if err != nil {
		return err
	}
	cmd := &shard.SetConversation{User: s.user, Session: s.number, Peer: peer, Muted: args.Muted, Pinned: args.Pinned}
	cmd.Request = s.identity(r, cmd)
	s.propose(r, cmd, func(shard.Result) { s.reply(r, nil) })
	return nil
}
