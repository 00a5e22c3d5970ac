package raftstore

import (
	"slices"
	"sync"
	"time"

	"github.com/belfry-im/belfry/raftstore/peer"
	"github.com/belfry-im/belfry/raftstore/replica"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

var decoders = sync.Pool{New: func() any { return new(shard.Decoder) }}

// send executes an operation of this node; it implements leaderEnd. If the leadership
// ends before it is done, Config.Lost of the replica gets it.
func (l *leader) send(op *operation, _ func(*peer.Answer)) (kept bool, err error) {
	return false, l.execute(op, true)
}

// execute has an operation executed in this leadership: one of this node or, unless ours
// is set, of another one, which sends it again itself if it must. After an error done is
// not called.
func (l *leader) execute(op *operation, ours bool) error {
	w := replica.Waiter{Routed: ours && !op.letter, Key: op.key, Origin: op}
	if op.kind == peer.Committed {
		var refused error
		w.Read = true
		w.Step = func(st *shard.State, now int64, _ *command.Result) { refused = answerAll(st, now, op.queries) }
		w.Done = func(_ command.Result, err error) {
			if err == nil {
				err = refused
			}
			op.done(answer{err: err})
		}
		return l.enqueue(nil, w)
	}
	d := decoders.Get().(*shard.Decoder)
	defer decoders.Put(d)
	cmd, err := d.Decode(op.encoded)
	if err != nil {
		return &command.RefusedError{Code: command.CodeBadRequest, Detail: err.Error()}
	}
	needs := cmd.Needs()
	w.Key, w.Patience = command.UserID(cmd.Key()), patience(cmd)
	w.Done = func(r command.Result, err error) { op.done(answer{result: r, err: err}) }
	encoded := op.encoded
	if login, ok := cmd.(*command.Login); ok && op.kind == peer.Login {
		user := login.User
		if !op.counted {
			if err := l.allowLogin(login); err != nil {
				return err
			}
			op.counted = true
		}
		if login.Instead == 0 {
			login.Begun = l.shard.local.Now() - op.age().Milliseconds()
			encoded = command.AppendCommand(nil, login)
		}
		var sync *query.Sync
		w.Step = func(st *shard.State, now int64, r *command.Result) {
			if r.Code == command.OK {
				sync = st.StartSync(user, r, op.recents, now)
				op.begin(user, sync)
			}
		}
		w.Done = func(r command.Result, err error) { op.done(answer{result: r, sync: sync, err: err}) }
	}
	return l.propose(encoded, &needs, w)
}

// allowLogin counts a login of a client, and refuses it if its user has made too many. A
// session that its node logs in again is not counted.
func (l *leader) allowLogin(login *command.Login) error {
	if login.Instead != 0 {
		return nil
	}
	wait, ok := l.shard.store.loginRate.allow(login.User, time.Now())
	if ok {
		return nil
	}
	return &command.RefusedError{
		Code: command.CodeRateLimited, Detail: "op: too many logins of this user",
		RetryAfterMS: (wait + time.Millisecond - 1).Milliseconds(),
	}
}

// answerAll answers queries up to the first that is refused.
func answerAll(st *shard.State, now int64, queries []query.Query) error {
	for _, q := range queries {
		if err := st.Answer(q, now); err != nil {
			return err
		}
	}
	return nil
}

// propose proposes an encoded command in this leadership, if there is room for what it
// needs. w.Done is called once its letters have arrived, see afterLetters. After an
// error it is not called.
func (l *leader) propose(encoded []byte, needs *command.Needs, w replica.Waiter) error {
	if err := l.shard.store.admit(l.shard.shardRef, needs); err != nil {
		return err
	}
	if len(needs.Members) > 0 {
		w.Done = l.afterLetters(w.Key, slices.Clone(needs.Members), w.Done)
	}
	return l.enqueue(encoded, w)
}

// afterLetters returns a function to call instead of done. It calls done but, if the
// command succeeded, only once its letters have reached the shards of users, as far as
// these serve: a caller who was answered then finds the change in the users' lists of
// groups.
func (l *leader) afterLetters(key command.UserID, users []command.UserID, done func(command.Result, error)) func(command.Result, error) {
	return func(r command.Result, err error) {
		if err == nil && r.Code == command.OK {
			if l := l.shard.leading(); l != nil {
				l.courier.whenDelivered(key, users, func() { done(r, nil) })
				return
			}
		}
		done(r, err)
	}
}
