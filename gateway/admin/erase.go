package admin

import (
	"context"
	"errors"

	"github.com/belfry-im/belfry/shard"
)

// eraseUser removes a user's data. What he sent to groups lies with them, so the
// order is: nothing new from him; then, group by group, what he sent and his
// membership; and he himself last. Each step can be repeated.
func (a *API) eraseUser(ctx context.Context, in *UserPath) (*struct{}, error) {
	callOf(ctx).target = string(in.User)
	user := shard.UserID(in.User)
	known, cancel := a.waiting(ctx)
	_, err := a.knownUser(known, in.User)
	cancel()
	if err != nil {
		return nil, err // suspending him would make him known
	}
	if _, err := a.change(ctx, &shard.SetUser{User: user, Suspended: new(true)}); err != nil {
		return nil, err
	}
	waiting, cancel := a.waiting(ctx)
	groups, err := a.backend.Traces(waiting, user)
	cancel()
	if err != nil {
		return nil, a.errorOf(err)
	}
	for _, step := range []func(shard.GroupID) shard.Command{
		func(g shard.GroupID) shard.Command { return &shard.DeleteSender{Group: g, Sender: user} },
		// Else it would be kept for his return.
		func(g shard.GroupID) shard.Command {
			return &shard.SetGroupView{Group: g, User: user, Muted: new(false), Pinned: new(false)}
		},
		func(g shard.GroupID) shard.Command {
			return &shard.RemoveMembers{Group: g, Users: []shard.UserID{user}}
		},
		// What was on its way when he was suspended.
		func(g shard.GroupID) shard.Command { return &shard.DeleteSender{Group: g, Sender: user} },
	} {
		cmds := make([]shard.Command, len(groups))
		for i, g := range groups {
			cmds[i] = step(g)
		}
		for _, o := range a.changeAll(ctx, cmds) {
			// A group that is no more, or has him no more, is as it should be.
			if refused, ok := errors.AsType[*shard.RefusedError](o.err); ok &&
				(refused.Code == shard.CodeNotFound || refused.Code == shard.CodeForbidden) {
				continue
			}
			if o.err != nil {
				return nil, a.errorOf(o.err)
			}
			for _, f := range o.result.Failed {
				if f.Code != shard.CodeNotFound {
					return nil, a.errorOf(&shard.RefusedError{Code: f.Code, Detail: "user: cannot be taken out of a group"})
				}
			}
		}
	}
	waiting, cancel = a.waiting(ctx)
	defer cancel()
	if err := a.backend.EraseUser(waiting, user); err != nil {
		return nil, a.errorOf(err)
	}
	return nil, nil
}
