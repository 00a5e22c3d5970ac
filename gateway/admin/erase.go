package admin

import (
	"context"
	"errors"

	"github.com/belfry-im/belfry/shard/command"
)

// eraseUser removes a user's data. What they sent to groups lies with the groups,
// so the order is: nothing new from the user; then, group by group, what they sent
// and their membership; and the user last. Each step can be repeated.
func (a *API) eraseUser(ctx context.Context, in *UserPath) (*struct{}, error) {
	callOf(ctx).target = string(in.User)
	user := command.UserID(in.User)
	known, cancel := a.waiting(ctx)
	_, err := a.knownUser(known, in.User)
	cancel()
	if err != nil {
		return nil, err // suspending the user would make them known
	}
	if _, err := a.change(ctx, &command.SetUser{User: user, Suspended: new(true)}); err != nil {
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
		// Else it would be kept for the day when the user joins again.
		func(g command.GroupID) command.Command {
			return &command.SetGroupView{Group: g, User: user, Muted: new(false), Pinned: new(false)}
		},
		func(g command.GroupID) command.Command {
			return &command.RemoveMembers{Group: g, Users: []command.UserID{user}}
		},
		// What was on its way when the user was suspended.
		func(g command.GroupID) command.Command { return &command.DeleteMessagesFrom{Group: g, Sender: user} },
	} {
		cmds := make([]command.Command, len(groups))
		for i, g := range groups {
			cmds[i] = step(g)
		}
		for _, o := range a.changeAll(ctx, cmds) {
			// A group that is no more, or no longer has the user, is as it should be.
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
	return nil, nil
}
