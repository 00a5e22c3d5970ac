package admin

import (
	"context"
	"errors"

	"github.com/belfry-im/belfry/gateway/inspect"
	"github.com/belfry-im/belfry/shard/command"
)

// eraseUser removes a user's data. Groups keep what the user sent to them, so the
// order is: suspend the user, who can then send nothing new; in all groups, delete
// the user's messages and end the membership; erase the user last. Each step can be
// repeated.
func (a *API) eraseUser(ctx context.Context, in *UserPath) (*struct{}, error) {
	callOf(ctx).target = string(in.User)
	user := command.UserID(in.User)
	known, cancel := a.waiting(ctx)
	_, err := a.knownUser(known, in.User)
	cancel()
	if err != nil {
		return nil, err // to suspend the user would create one
	}
	if _, err := a.propose(ctx, &command.SetUser{User: user, Suspended: new(true)}); err != nil {
		return nil, err
	}
	waiting, cancel := a.waiting(ctx)
	groups, err := a.backend.Traces(waiting, user)
	cancel()
	if err != nil {
		return nil, a.errorOf(err)
	}
	for _, step := range []func(command.GroupID) command.Command{
		func(g command.GroupID) command.Command { return &command.DeleteMessagesFrom{Group: g, Sender: user} },
		// The group would otherwise keep these settings for when the user joins
		// again.
		func(g command.GroupID) command.Command {
			return &command.SetGroupView{Group: g, User: user, Muted: new(false), Pinned: new(false)}
		},
		func(g command.GroupID) command.Command {
			return &command.RemoveMembers{Group: g, Users: []command.UserID{user}}
		},
		// Once more, for messages that were on their way when the user was suspended.
		func(g command.GroupID) command.Command { return &command.DeleteMessagesFrom{Group: g, Sender: user} },
	} {
		cmds := make([]command.Command, len(groups))
		for i, g := range groups {
			cmds[i] = step(g)
		}
		for _, o := range a.proposeAll(ctx, cmds) {
			// If the group is gone, or the user is not in it, there is nothing to do.
			if refused, ok := errors.AsType[*command.RefusedError](o.err); ok &&
				(refused.Code == command.CodeNotFound || refused.Code == command.CodeForbidden) {
				continue
			}
			if o.err != nil {
				return nil, a.errorOf(o.err)
			}
			for _, f := range o.result.Failed {
				if f.Code != command.CodeNotFound {
					return nil, a.errorOf(&command.RefusedError{Code: f.Code, Detail: "user: cannot be taken out of a group"})
				}
			}
		}
	}
	waiting, cancel = a.waiting(ctx)
	defer cancel()
	if err := a.backend.EraseUser(waiting, user); err != nil {
		return nil, a.errorOf(err)
	}
	// What nodes noted of the user's connections. One that does not answer now replaces it in time.
	a.config.Inspect.Gather(ctx, inspect.Request{What: inspect.WhatForget, User: string(in.User)})
	return nil, nil
}
