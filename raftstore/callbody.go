package raftstore

import (
	"bytes"
	"fmt"

	"github.com/belfry-im/belfry/raftstore/peer"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/raftstore/watch"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/codec"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// maxCalled bounds the users of one call.
const maxCalled = 1 << 16

// encodeCall returns what fields writes.
func encodeCall(fields func(x *codec.Coder)) []byte {
	x := codec.NewWriter(nil)
	fields(&x)
	return x.B
}

// decodeCall has fields read body. What a newer node has appended to it is skipped.
func decodeCall(body []byte, fields func(x *codec.Coder)) error {
	x := codec.NewReader(body)
	fields(&x)
	if x.Err != nil {
		return fmt.Errorf("%w: %w", peer.ErrFailed, x.Err)
	}
	return nil
}

func userList(users *[]command.UserID) func(x *codec.Coder) {
	return func(x *codec.Coder) { codec.Texts(x, users, maxCalled, command.MaxName) }
}

// A userStatus is what the leader of a user's shard knows of their presence.
type userStatus struct {
	online bool
	seen   int64 // ms, if not online; 0: the user never logged in
}

func statusList(list *[]userStatus) func(x *codec.Coder) {
	return func(x *codec.Coder) {
		codec.List(x, list, 2, maxCalled, func(s *userStatus, x *codec.Coder) {
			codec.Bool(x, &s.online)
			codec.Int(x, &s.seen)
		})
	}
}

// A telling is a signal for users of one shard.
type telling struct {
	users  []command.UserID
	except command.SessionID // of the only user
	// from: users who have blocked them are left out; "": nobody is.
	from   command.UserID
	signal store.Signal
}

func (t *telling) fields(x *codec.Coder) {
	userList(&t.users)(x)
	codec.Uint(x, &t.except)
	codec.Text(x, &t.from, command.MaxName)
	watch.SignalFields(&t.signal, x)
}

// A transientSend is what the leader of its sender's shard needs of a message of ttl 0.
type transientSend struct {
	from, to command.UserID
	session  command.SessionID
	cid      string
	id       command.MsgID
	body     uint64 // hash
}

func (t *transientSend) fields(x *codec.Coder) {
	codec.Text(x, &t.from, command.MaxName)
	codec.Text(x, &t.to, command.MaxName)
	codec.Uint(x, &t.session)
	codec.Text(x, &t.cid, command.MaxName)
	t.id.Fields(x)
	codec.Uint(x, &t.body)
}

// liveFields writes or reads what SendLive needs of a message. One that was read has memory
// of its own.
func liveFields(m *command.SendGroup) func(x *codec.Coder) {
	return func(x *codec.Coder) {
		m.Group.Fields(x)
		codec.Text(x, &m.User, command.MaxName)
		codec.Uint(x, &m.Session)
		codec.Bool(x, &m.Admin)
		m.ID.Fields(x)
		codec.Text(x, &m.CID, command.MaxName)
		codec.Texts(x, &m.Mentions, maxCalled, command.MaxName)
		codec.Bytes(x, &m.Body, command.MaxBody)
		if !x.Writing() {
			m.Body = bytes.Clone(m.Body)
		}
	}
}

// resultFields writes or reads the result of a message that is stored nowhere.
func resultFields(r *command.Result) func(x *codec.Coder) {
	return func(x *codec.Coder) {
		r.ID.Fields(x)
		codec.Int(x, &r.Time)
		codec.Bool(x, &r.Duplicate)
	}
}

func memberList(list *[]shard.MemberRef) func(x *codec.Coder) {
	return func(x *codec.Coder) {
		codec.List(x, list, 2, maxCalled, func(m *shard.MemberRef, x *codec.Coder) {
			codec.Text(x, &m.Group, command.MaxGroup)
			codec.Text(x, &m.User, command.MaxName)
		})
	}
}

// An attentionAsk asks for a user's attention to a message, see hub.attention.
type attentionAsk struct {
	user  command.UserID
	group command.GroupID
	mark  query.QueuedHeader
}

func attentionAsks(list *[]attentionAsk) func(x *codec.Coder) {
	return func(x *codec.Coder) {
		codec.List(x, list, 20, maxCalled, func(a *attentionAsk, x *codec.Coder) {
			codec.Text(x, &a.user, command.MaxName)
			codec.Text(x, &a.group, command.MaxGroup)
			a.mark.ID.Fields(x)
			codec.Int(x, &a.mark.Time)
			codec.Uint(x, &a.mark.Arrival)
		})
	}
}

func attentionList(list *[]attention) func(x *codec.Coder) {
	return func(x *codec.Coder) {
		codec.List(x, list, 1, maxCalled, func(a *attention, x *codec.Coder) { codec.Enum(x, a, attentionAway, attentionAcked) })
	}
}
