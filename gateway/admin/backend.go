package admin

import (
	"context"
	"iter"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// Backend is what administration needs of the store; *raftstore.Store is one, and
// its methods are documented there. An error is a *command.RefusedError or a
// *store.ImportError, or errors.Is finds store.ErrUnavailable (nothing happened) or
// store.ErrUnknown (it may have happened, a repeat is safe).
type Backend interface {
	// Submit proposes cmd and calls done exactly once, on a goroutine of the store.
	Submit(cmd command.Command, done func(command.Result, error))
	// Propose is Submit, but waits for the result. A refusal is in the Result, not
	// in the error.
	Propose(ctx context.Context, cmd command.Command) (command.Result, error)
	SendEphemeral(m *command.Send) (command.Result, error)
	SendLive(m *command.SendGroup) (command.Result, error)
	History(q query.HistoryQuery, page *query.Page) error
	Read(q query.Query) error
	FindMessage(ctx context.Context, id command.MsgID, first, slots int) (places []query.MessagePlace, next int, err error)
	Exists(user command.UserID) (bool, error)
	Now() int64

	User(ctx context.Context, user command.UserID) (info query.UserInfo, known bool, err error)
	Users(ctx context.Context, after command.UserID, limit int) (users []query.UserEntry, more bool, err error)
	Unread(ctx context.Context, user command.UserID) ([]query.UnreadCount, error)
	UnreadSeqs(ctx context.Context, user, peer command.UserID) ([]uint64, error)
	GroupUnreadSeqs(ctx context.Context, group command.GroupID, user command.UserID) ([]uint64, error)
	Sessions(ctx context.Context, user command.UserID) ([]query.SessionInfo, error)
	Kick(ctx context.Context, user command.UserID, session command.SessionID) error
	EraseUser(ctx context.Context, user command.UserID) error
	Export(ctx context.Context, user command.UserID, yield func(*store.ExportRow) error) error
	Import(ctx context.Context, req store.ImportRequest, rows iter.Seq2[store.ImportRow, error]) (store.ImportResult, error)

	Group(group command.GroupID, asker command.UserID) (info query.GroupInfo, exists bool, err error)
	Groups(ctx context.Context, after command.GroupID, limit int) (groups []query.GroupInfo, more bool, err error)
	Traces(ctx context.Context, user command.UserID) ([]command.GroupID, error)
	Members(group command.GroupID, after command.UserID, limit int) (members []query.Member, more bool, err error)
	Bans(group command.GroupID, after command.UserID, limit int) (bans []query.Ban, more bool, err error)
	JoinRequests(group command.GroupID) ([]query.JoinRequest, error)

	Stats(ctx context.Context) (total query.Counts, shards []query.Counts, err error)
}

// propose proposes a command and waits for its result. It returns a refusal as an
// error.
func (a *API) propose(ctx context.Context, cmd command.Command) (command.Result, error) {
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

// An outcome is the result of one command, or its error.
type outcome struct {
	result command.Result
	err    error // also for a refusal
}

// proposeAll proposes all commands at once, waits, and returns the outcome of each.
// Commands of one key are executed in their order.
func (a *API) proposeAll(ctx context.Context, cmds []command.Command) []outcome {
	ctx, cancel := a.waiting(ctx)
	defer cancel()
	type answer struct {
		i int
		outcome
	}
	answers := make(chan answer, len(cmds)) // room for all: an answer after the time-out blocks nobody
	for i, cmd := range cmds {
		a.backend.Submit(cmd, func(r command.Result, err error) {
			if err == nil {
				err = r.Err()
			}
			answers <- answer{i, outcome{r, err}}
		})
	}
	outcomes := make([]outcome, len(cmds))
	for i := range outcomes {
		outcomes[i].err = store.ErrUnknown
	}
	for range cmds {
		select {
		case a := <-answers:
			outcomes[a.i] = a.outcome
		case <-ctx.Done():
			return outcomes
		}
	}
	return outcomes
}
