package loadtest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// presenceUsers is how many users one request for presence may name.
const presenceUsers = 100

func (a *Attack) asker() string      { return a.run.config.Prefix + "asker" }
func (a *Attack) asked(n int) string { return fmt.Sprintf("%sasked%d", a.run.config.Prefix, n) }

// preparePresence puts the asker into groups, by default as many as a user may be
// in, and the users asked for into as many others. When the server looks for a
// group that both are in, it goes through all of them and finds none.
func preparePresence(ctx context.Context, a *Attack) error {
	var asked []string
	for n := range presenceUsers {
		asked = append(asked, a.asked(n))
	}
	return a.administer(ctx, 2*a.config.Size, func(n int) (string, string, any) {
		group := map[string]any{"group": fmt.Sprintf("%sgroup%d", a.run.config.Prefix, n), "kind": "public", "members": asked}
		if n%2 == 0 {
			group["members"] = []string{a.asker()}
		}
		return "POST", "/v1/groups", group
	})
}

func raidPresence(ctx context.Context, a *Attack, n int) error {
	i, r, err := a.login(ctx, n, a.asker(), fmt.Sprintf("device%d", n%deafDevices))
	if err != nil {
		return err
	}
	defer i.Close()
	args := &protocol.PresenceArgs{}
	for u := range presenceUsers {
		args.Users = append(args.Users, a.asked(u))
	}
	op := protocol.OpGetPresence
	if n%2 == 1 {
		op = protocol.OpSubscribePresence
	}
	for err == nil {
		err = a.ask(ctx, r, op, args)
	}
	return err
}

const (
	// gapStep is how many messages are stored before they are recalled or
	// deleted: the server would not keep more at a time.
	gapStep = 2000
	// gapFlight is twice the number of sessions that recall and delete at a time.
	gapFlight = 32
)

func (a *Attack) writer() string { return a.run.config.Prefix + "writer" }
func (a *Attack) reader() string { return a.run.config.Prefix + "reader" }

// prepareGaps makes one user write to another, recall every second message and
// delete the others, so that the history is all gaps.
func prepareGaps(ctx context.Context, a *Attack) error {
	for first := 1; first <= a.config.Size; first += gapStep {
		some := min(gapStep, a.config.Size-first+1)
		err := a.administer(ctx, some, func(n int) (string, string, any) {
			return "POST", "/v1/messages", map[string]any{"from": a.writer(), "to": "u:" + a.reader(), "cid": fmt.Sprint(first + n), "body": nil}
		})
		if err != nil {
			return err
		}
		if err := a.makeGaps(ctx, uint64(first), uint64(some)); err != nil {
			return err
		}
	}
	return nil
}

// makeGaps recalls and deletes by turns the messages that were stored last: some
// of them, from seq first on.
func (a *Attack) makeGaps(ctx context.Context, first, some uint64) error {
	conv := protocol.UserConv(a.reader())
	var next atomic.Uint64
	g, ctx := errgroup.WithContext(ctx)
	for n := range gapFlight / 2 {
		g.Go(func() error {
			i, r, err := a.login(ctx, n, a.writer(), fmt.Sprintf("device%d", n%deafDevices))
			if err != nil {
				return err
			}
			defer i.Close()
			for {
				at := 2 * (next.Add(1) - 1)
				if at >= some {
					return nil
				}
				if err := r.insist(ctx, protocol.OpRecall, &protocol.RecallArgs{Conv: conv, Seq: first + at}); err != nil {
					return err
				}
				if at%100 != 0 {
					continue
				}
				args := protocol.DeleteMessageArgs{Conv: conv}
				for seq := first + at + 1; seq < first+min(at+100, some); seq += 2 {
					args.Seqs = append(args.Seqs, seq)
				}
				if err := r.insist(ctx, protocol.OpDeleteMessage, &args); err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}

// insist makes a request again as long as the server limits its rate or is
// unavailable.
func (r *reader) insist(ctx context.Context, op string, args protocol.Args) error {
	for {
		err := r.call(op, args, nil)
		reply, ok := errors.AsType[*protocol.ReplyError](err)
		if !ok || reply.Code != protocol.CodeRateLimited && reply.Code != protocol.CodeUnavailable {
			return err
		}
		select {
		case <-time.After(time.Duration(max(reply.RetryAfterMS, 1)) * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func raidGaps(ctx context.Context, a *Attack, n int) error {
	i, r, err := a.login(ctx, n, a.writer(), fmt.Sprintf("device%d", n%deafDevices))
	if err != nil {
		return err
	}
	defer i.Close()
	args := &protocol.GetMessageArgs{Conv: protocol.UserConv(a.reader()), HasAfter: true, After: 1, Limit: 1}
	for err == nil {
		err = a.ask(ctx, r, protocol.OpGetMessage, args)
	}
	return err
}

// inventedMembers is how many members a group can be created with.
const inventedMembers = 500

// raidInvented creates groups of members who do not exist, and in between blocks
// and unblocks other users who do not exist.
func raidInvented(ctx context.Context, a *Attack, n int) error {
	i, r, err := a.login(ctx, n, fmt.Sprintf("%sinventor%d", a.run.config.Prefix, n), "phone")
	if err != nil {
		return err
	}
	defer i.Close()
	invent := func() string { return fmt.Sprintf("%snobody%d", a.run.config.Prefix, a.lastMade.Add(1)) }
	for turn := 0; err == nil; turn++ {
		if turn%20 == 0 {
			args := &protocol.CreateGroupArgs{Kind: protocol.KindPublic}
			for range inventedMembers {
				args.Members = append(args.Members, invent())
			}
			err = a.ask(ctx, r, protocol.OpCreateGroup, args)
			continue
		}
		args := &protocol.BlockArgs{User: invent()}
		if err = a.ask(ctx, r, protocol.OpBlock, args); err == nil {
			err = a.ask(ctx, r, protocol.OpUnblock, args)
		}
	}
	return err
}
