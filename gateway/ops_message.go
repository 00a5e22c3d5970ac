package gateway

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/oklog/ulid/v2"

	"github.com/belfry-im/belfry/gateway/hooks"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/gateway/webhook"
	"github.com/belfry-im/belfry/gateway/ws"
	"github.com/belfry-im/belfry/shard/command"
)

var encoders = sync.Pool{New: func() any { return new(command.Encoder) }}

// identity returns the identity of a changing request, by which the shard recognizes
// repeats.
func (s *session) identity(r request, cmd command.Command) command.Request {
	if r.ID == 0 {
		return command.Request{}
	}
	if s.repeats == nil {
		s.repeats = new(repeats)
	}
	buf := ws.GetBuffer()
	defer ws.PutBuffer(buf)
	e := encoders.Get().(*command.Encoder)
	defer encoders.Put(e)
	*buf = e.Append((*buf)[:0], cmd)
	s.identified = r.ID
	return s.repeats.identity(r.ID, xxhash.Sum64(*buf))
}

// proposeIdentified proposes the command of a changing request. identity is the field of
// cmd for the request's identity. The reply has no content.
func (s *session) proposeIdentified(r request, cmd command.Command, identity *command.Request) {
	*identity = s.identity(r, cmd)
	s.propose(r, cmd, func(command.Result) { s.reply(r, nil) })
}

func (s *session) send(r request) error {
	var args protocol.SendArgs
	if err := args.Decode(r.Args, s.gateway.config.MaxBody); err != nil {
		return err
	}
	if err := s.allowSend(); err != nil {
		return err
	}
	if args.Retry { // the store has to search all of the history
		if err := s.allowScan(); err != nil {
			return err
		}
	}
	if s.gateway.config.Hooks.Wants(webhook.MessageBeforeSend) {
		s.holdSend(r, &args)
		return nil
	}
	if err := s.sendMessage(r, &args, nil); err != nil {
		s.refuseSend(r, args.Conv, args.CID, err)
	}
	return nil
}

// sendMessage sends a message, whose body may lie in the frame. d is the decision that
// accepted it, nil if none was needed. After an error the caller reports the outcome of d.
func (s *session) sendMessage(r request, args *protocol.SendArgs, d *hooks.Decision) error {
	if args.Conv.Group {
		return s.sendGroup(r, args, d)
	}
	to := command.UserID(args.Conv.ID)
	b := s.gateway.backend
	if err := s.checkRecipient(to); err != nil {
		return err
	}
	if args.HasTTL && args.TTL == 0 {
		cmd := s.sendCommand(r, args, to)
		cmd.Body = bytes.Clone(cmd.Body) // a signal outlives the frame
		result, err := b.SendEphemeral(&cmd)
		if err != nil {
			return err
		}
		s.replySent(r, args, &result, d)
		return nil
	}
	if err := s.checkGaps(args.Conv, args.CID); err != nil {
		return err
	}
	m := newSending()
	m.command, m.session, m.id, m.receivedAt = s.sendCommand(r, args, to), s, r.ID, r.receivedAt
	m.event, m.decision = s.gateway.config.Hooks.Sending(s.user, args), d
	m.command.Original = d.Original()
	s.addPending(r)
	s.submits.Add(1)
	b.Submit(&m.command, m.done)
	return nil
}

// checkRecipient returns a refusal if, with Config.KnownUsersOnly, the user has never
// logged in.
func (s *session) checkRecipient(to command.UserID) error {
	if !s.gateway.config.KnownUsersOnly || to == s.user {
		return nil
	}
	b := s.gateway.backend
	knows, err := b.Knows(s.user, to)
	if err != nil {
		return err
	}
	if !knows {
		if err := s.allowUnknownUser(); err != nil {
			return err
		}
	}
	exists, err := b.Exists(to)
	if err != nil || exists {
		return err
	}
	if !knows {
		s.gateway.unknownUsers.Allow(string(s.user))
	}
	return &refusal{code: protocol.CodeNotFound, message: "conv: there is no user " + string(to)}
}

// replySent replies to a send that was not stored, and reports it to the webhooks.
func (s *session) replySent(r request, args *protocol.SendArgs, result *command.Result, d *hooks.Decision) {
	s.gateway.config.Hooks.Done(d, nil)
	s.replyWith(r, func(b []byte) []byte { return s.appendSendOK(b, r.ID, result) })
	s.countSend(r.receivedAt)
	s.gateway.config.Hooks.Sent(s.gateway.config.Hooks.Sending(s.user, args), result)
}

// sendCommand returns the command that sends a message to a user. Its body may lie in the
// frame.
func (s *session) sendCommand(r request, args *protocol.SendArgs, to command.UserID) command.Send {
	return command.Send{
		User: s.user, Session: s.id(), To: to, ID: newMessageID(s.gateway.backend.Now()), CID: args.CID,
		Body: args.Body, TTL: args.TTL, Retry: args.Retry, Mentions: args.Mentions, Origin: s.origin(r),
	}
}

// fenceFor is how long after its login a session says with its messages that it is a new
// one. What earlier sessions of its device have sent is older then than repeats are
// recognized, by default.
const fenceFor = 5 * time.Minute

// origin returns the origin of a message.
func (s *session) origin(r request) command.Origin {
	return command.Origin{Device: s.deviceHash, Login: s.loginID, Fence: r.receivedAt.Sub(s.began) < fenceFor}
}

// A sending is a send that waits for the store's result. It is pooled, so that sends
// allocate nothing.
type sending struct {
	command    command.Send      // to a user
	group      command.SendGroup // to a group
	session    *session
	id         uint64
	receivedAt time.Time
	event      *hooks.Sending              // for message.sent; nil if that is not wanted
	done       func(command.Result, error) // the method finish, bound once

	decision *hooks.Decision // the one that accepted the send, nil for none
}

var sendingPool sync.Pool

func newSending() *sending {
	if m, ok := sendingPool.Get().(*sending); ok {
		return m
	}
	m := new(sending)
	m.done = m.finish
	return m
}

// finish replies to the send once its result is known.
func (m *sending) finish(result command.Result, err error) {
	s, id, came, hook, d := m.session, m.id, m.receivedAt, m.event, m.decision
	conv, cid := protocol.UserConv(string(m.command.To)), m.command.CID
	if m.group.Group != "" {
		conv, cid = protocol.GroupConv(string(m.group.Group)), m.group.CID
	}
	*m = sending{done: m.done}
	sendingPool.Put(m)
	defer s.submits.Done()
	r := request{Request: protocol.Request{ID: id, Op: protocol.OpSend}, receivedAt: came}
	if err == nil {
		err = result.Err()
	}
	s.gateway.config.Hooks.Done(d, err)
	if err != nil {
		s.refuseSend(r, conv, cid, err)
		s.removePending(r)
		return
	}
	s.countSend(came)
	s.gateway.config.Hooks.Sent(hook, &result)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removePendingLocked(id)
	if id != 0 && !s.ended {
		s.queueFrame(frameReply, func(b []byte) []byte { return s.appendSendOK(b, id, &result) })
		s.wakeLocked()
	}
}

// appendSendOK appends the reply to a send that succeeded.
func (s *session) appendSendOK(b []byte, id uint64, result *command.Result) []byte {
	return protocol.AppendSendOK(b, s.codec, id, &protocol.SendOK{
		ID: protocol.ID(result.ID), Seq: result.Seq, Time: result.Time, Duplicate: result.Duplicate,
	})
}

// countSend counts a send that succeeded, and its duration.
func (s *session) countSend(came time.Time) {
	s.gateway.metrics.messagesIn.Inc()
	s.gateway.metrics.sendSeconds.Observe(time.Since(came).Seconds())
}

// newMessageID returns a ULID of the store's time. Ids of the same millisecond are not in
// order: the order of messages is that of their seqs.
func newMessageID(nowMS int64) command.MsgID {
	var id ulid.ULID
	binary.BigEndian.PutUint64(id[8:], rand.Uint64())
	binary.BigEndian.PutUint16(id[6:], uint16(rand.Uint32()))
	_ = id.SetTime(uint64(nowMS)) // fails from the year 10889 on
	return command.MsgID(id)
}

func (s *session) readReport(r request) error {
	var args protocol.ReadReportArgs
	if err := args.Decode(r.Args); err != nil {
		return err
	}
	if args.Conv.Group {
		return s.readGroup(r, &args)
	}
	cmd := &command.ReadReport{User: s.user, Session: s.id(), Peer: command.UserID(args.Conv.ID), Seq: args.Seq}
	cmd.Request = s.identity(r, cmd)
	s.propose(r, cmd, func(result command.Result) { s.reply(r, &protocol.ReadReportOK{Unread: result.Unread}) })
	return nil
}

func (s *session) recall(r request) error {
	var args protocol.RecallArgs
	if err := args.Decode(r.Args); err != nil {
		return err
	}
	if args.Conv.Group {
		return s.recallGroup(r, &args)
	}
	cmd := &command.Recall{User: s.user, Session: s.id(), Peer: command.UserID(args.Conv.ID), Seq: args.Seq}
	s.proposeIdentified(r, cmd, &cmd.Request)
	return nil
}

func (s *session) deleteMessage(r request) error {
	var args protocol.DeleteMessageArgs
	if err := args.Decode(r.Args); err != nil {
		return err
	}
	if args.Conv.Group {
		return s.hideMessages(r, &args)
	}
	cmd := &command.DeleteMessages{User: s.user, Session: s.id(), Peer: command.UserID(args.Conv.ID), Seqs: args.Seqs}
	s.proposeIdentified(r, cmd, &cmd.Request)
	return nil
}

func (s *session) deleteConversation(r request) error {
	var args protocol.DeleteConversationArgs
	if err := args.Decode(r.Args); err != nil {
		return err
	}
	if args.Conv.Group {
		return s.hideGroup(r, &args)
	}
	cmd := &command.DeleteConversation{User: s.user, Session: s.id(), Peer: command.UserID(args.Conv.ID), Messages: args.Messages}
	s.proposeIdentified(r, cmd, &cmd.Request)
	return nil
}

func (s *session) setConversation(r request) error {
	var args protocol.SetConversationArgs
	if err := args.Decode(r.Args); err != nil {
		return err
	}
	if args.Conv.Group {
		return s.setGroupView(r, &args)
	}
	cmd := &command.SetConversation{User: s.user, Session: s.id(), Peer: command.UserID(args.Conv.ID), Muted: args.Muted, Pinned: args.Pinned, Unread: args.Unread}
	s.proposeIdentified(r, cmd, &cmd.Request)
	return nil
}
