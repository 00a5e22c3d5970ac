package admin

import (
	"context"
	"iter"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard"
)

// Backend is what administration needs of the store; *raftstore.Store is one,
// and its methods are documented there. Errors other than a *shard.RefusedError
// and a *store.ImportError are store.ErrUnavailable (nothing happened)
// and store.ErrUnknown (it may have happened, a repeat is safe), tested with
// errors.Is.
type Backend interface {
	// Submit proposes cmd and calls done exactly once, on a goroutine of the store.
	Submit(cmd shard.Command, done func(shard.Result, error))
	// Propose is Submit that waits. A refusal is in the Result, not the error.
	Propose(ctx context.Context, cmd shard.Command) (shard.Result, error)
	SendEphemeral(m *shard.Send) (shard.Result, error)
	SendLive(m *shard.SendGroup) (shard.Result, error)
	History(q shard.HistoryQuery, page *shard.Page) error
	Exists(user shard.UserID) (bool, error)
	Now() int64

	User(ctx context.Context, user shard.UserID) (info shard.UserInfo, known bool, err error)
	Users(ctx context.Context, after shard.UserID, limit int) (users []shard.UserEntry, more bool, err error)
	Unread(ctx context.Context, user shard.UserID) ([]shard.UnreadCount, error)
	UnreadSeqs(ctx context.Context, user, peer shard.UserID) ([]uint64, error)
	GroupUnreadSeqs(ctx context.Context, group shard.GroupID, user shard.UserID) ([]uint64, error)
	Sessions(ctx context.Context, user shard.UserID) ([]shard.SessionInfo, error)
	Kick(ctx context.Context, user shard.UserID, session shard.SessionID) error
	EraseUser(ctx context.Context, user shard.UserID) error
	Export(ctx context.Context, user shard.UserID, yield func(*store.ExportRow) error) error
	Import(ctx context.Context, req store.ImportRequest, rows iter.Seq2[store.ImportRow, error]) (store.ImportResult, error)

	Group(group shard.GroupID, asker shard.UserID) (info shard.GroupInfo, exists bool, err error)
	Groups(ctx context.Context, after shard.GroupID, limit int) (groups []shard.GroupInfo, more bool, err error)
	Traces(ctx context.Context, user shard.UserID) ([]shard.GroupID, error)
	Members(group shard.GroupID, after shard.UserID, limit int) (members []shard.Member, more bool, err error)
	Bans(group shard.GroupID, after shard.UserID, limit int) (bans []shard.Ban, more bool, err error)
	JoinRequests(group shard.GroupID) ([]shard.JoinRequest, error)

	Stats(ctx context.Context) (total shard.Counts, shards []shard.Counts, err error)
}

// change proposes a command and waits for it. A refusal is an error.
func (a *API) change(ctx context.Context, cmd shard.Command) (shard.Result, error) {
	ctx, cancel := a.waiting(ctx)
	defer cancel()
	r, err := a.backend.Propose(ctx, cmd)
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		return r, a.errorOf(err)
	}
	return r, nil
}

// An outcome is what became of a command.
type outcome struct {
	result shard.Result
	err    error // a refusal too
}

// changeAll proposes commands, which share what they wait for, and gives the
// outcome of each. Those of one key are executed in their order.
func (a *API) changeAll(ctx context.Context, cmds []shard.Command) []outcome {
	ctx, cancel := a.waiting(ctx)
	defer cancel()
	type told struct {
		i int
		outcome
	}
	answers := make(chan told, len(cmds)) // room for all: an answer after the time-out waits for nobody
	for i, cmd := range cmds {
		a.backend.Submit(cmd, func(r shard.Result, err error) {
			if err == nil {
				err = r.Err()
			}
			answers <- told{i, outcome{r, err}}
		})
	}
	outcomes := make([]outcome, len(cmds))
	for i := range outcomes {
		outcomes[i].err = store.ErrUnknown
	}
	for range cmds {
		select {
		case t := <-answers:
			outcomes[t.i] = t.outcome
		case <-ctx.Done():
			return outcomes
		}
	}
	return outcomes
}
