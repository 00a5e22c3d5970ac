package loadtest

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// request makes a request on the client's session, waits for the reply and
// decodes it into ok.
func (c *Client) request(ctx context.Context, op string, args protocol.Args, ok protocol.OK) error {
	s, err := c.present()
	if err != nil {
		return err
	}
	if err := c.call(ctx, s, op, args, ok); err != nil {
		return fmt.Errorf("%s: %s: %w", c.config.User, op, err)
	}
	return nil
}

// createGroup makes a group that owner owns, with users as further members, and
// returns its id. It logs owner in if need be.
func (r *run) createGroup(ctx context.Context, owner *Client, kind string, users []string) (id string, err error) {
	if _, err := owner.present(); err != nil {
		if err := r.connectAll(ctx, []*Client{owner}); err != nil {
			return "", err
		}
	}
	var added atomic.Int64
	r.enter("make group", added.Load, int64(len(users)))
	first := users[:min(len(users), protocol.MaxGroupMembers)]
	var made protocol.CreateGroupOK
	if err := owner.request(ctx, protocol.OpCreateGroup, &protocol.CreateGroupArgs{Kind: kind, Members: first}, &made); err != nil {
		return "", err
	}
	added.Add(int64(len(first)))
	for rest := users[len(first):]; len(rest) > 0; {
		some := rest[:min(len(rest), protocol.MaxUsers)]
		rest = rest[len(some):]
		var ok protocol.AddMembersOK
		if err := owner.request(ctx, protocol.OpAddMembers, &protocol.MembersArgs{Group: made.Group, Users: some}, &ok); err != nil {
			return "", err
		}
		if len(ok.Failed) > 0 || len(ok.Added) != len(some) {
			return "", fmt.Errorf("loadtest: %d of %d members were added to group %s, failed: %v", len(ok.Added), len(some), made.Group, ok.Failed)
		}
		added.Add(int64(len(some)))
	}
	return made.Group, nil
}
