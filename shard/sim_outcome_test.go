package shard_test

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
)

// describe names a command in a failure.
func describe(cmd command.Command) string {
	switch c := cmd.(type) {
	case *command.Send:
		return fmt.Sprintf("Send(%s to %s, cid %s, session %d, ttl %d, retry %v, origin %v)", c.User, c.To, c.CID, c.Session, c.TTL, c.Retry, c.Origin)
	case *command.Deliver:
		l := c.Letter
		return fmt.Sprintf("Deliver(%s to %s, number %d, kind %d, seq %d)", l.From, l.To, l.Number, l.Kind, l.Seq)
	case *command.SendGroup:
		return fmt.Sprintf("SendGroup(%s to %s, cid %s, session %d, ttl %d, retry %v, admin %v, origin %v)", c.User, c.Group, c.CID, c.Session, c.TTL, c.Retry, c.Admin, c.Origin)
	case *command.CopySlot:
		d := *c
		d.Data = nil
		return fmt.Sprintf("CopySlot%+v with %d bytes", d, len(c.Data))
	}
	return fmt.Sprintf("%T%+v", cmd, cmd)
}

// diffResult says in what two results differ. Of a refusal the text is free,
// as long as there is one.
func diffResult(got, want *command.Result) string {
	switch {
	case got.Code != want.Code:
		return fmt.Sprintf("code = %d (%s), want %d", got.Code, got.Detail, want.Code)
	case got.Code == command.CodeGap && got.Seq != want.Seq:
		return fmt.Sprintf("expected letter = %d, want %d", got.Seq, want.Seq)
	case (got.Code == command.CodeRateLimited || got.Code == command.CodeOvertaken) && got.RetryAfterMS <= 0:
		return fmt.Sprintf("RetryAfterMS = %d, want more than 0", got.RetryAfterMS)
	case got.Code != command.OK && got.Code != command.CodeMoved && got.Detail == "":
		return fmt.Sprintf("refusal %d has no detail", got.Code)
	case got.Code != command.OK:
		return ""
	case got.ID != want.ID || got.Seq != want.Seq || got.Time != want.Time || got.Duplicate != want.Duplicate:
		return fmt.Sprintf("id %x, seq %d, time %d, duplicate %v, want id %x, seq %d, time %d, duplicate %v",
			got.ID, got.Seq, got.Time, got.Duplicate, want.ID, want.Seq, want.Time, want.Duplicate)
	case got.Arrival != want.Arrival:
		return fmt.Sprintf("arrival = %d, want %d", got.Arrival, want.Arrival)
	case got.Unread != want.Unread:
		return fmt.Sprintf("unread = %d, want %d", got.Unread, want.Unread)
	case got.Session != want.Session || got.Reset != want.Reset || got.CursorArrival != want.CursorArrival:
		return fmt.Sprintf("session %d, reset %v, since %d, want session %d, reset %v, since %d",
			got.Session, got.Reset, got.CursorArrival, want.Session, want.Reset, want.CursorArrival)
	case got.Pending != want.Pending || got.Deleted != want.Deleted || !slices.Equal(got.Failed, want.Failed):
		return fmt.Sprintf("pending %v, deleted %d, failed %v, want pending %v, deleted %d, failed %v",
			got.Pending, got.Deleted, got.Failed, want.Pending, want.Deleted, want.Failed)
	case !slices.Equal(got.Kicked, want.Kicked):
		return fmt.Sprintf("kicked = %v, want %v", got.Kicked, want.Kicked)
	}
	return ""
}

// checkOutcome compares the effects of a batch, on both replicas.
func (w *world) checkOutcome(sh *simShard) {
	for _, out := range []*shard.Outcome{&sh.outcome, &sh.second} {
		if !slices.Equal(out.Kicked, w.model.kicked) {
			w.failf("Kicked = %v, want %v", out.Kicked, w.model.kicked)
		}
		if len(out.Posted) != len(w.model.posted) {
			w.failf("%d letters posted, want %d", len(out.Posted), len(w.model.posted))
		}
		for i := range out.Posted {
			w.checkLetter(&out.Posted[i], &w.model.posted[i])
		}
		for _, user := range out.Users {
			if !w.model.touched[user] {
				w.failf("Touched names %s, want not", user)
			}
		}
		for user := range w.model.touched {
			if !slices.Contains(out.Users, user) {
				w.failf("Touched = %v, want %s in it", out.Users, user)
			}
		}
		w.checkMoved(out)
	}
	if n := len(sh.outcome.Changes); n > 0 {
		w.failf("%d Changes, want none: nobody wants them", n)
	}
	if got, want := toldOf(sh.second.Changes), toldOf(w.model.told); !slices.Equal(got, want) {
		w.failf("Changes = %q, want %q", got, want)
	}
}

// checkNeeds wants each letter of a batch among the Needs of one of its commands:
// what the store does not know of, it lets through when the outbox is full.
func (w *world) checkNeeds(sh *simShard, orders []order) {
	for _, p := range sh.outcome.Posted {
		needed := slices.ContainsFunc(orders, func(o order) bool {
			switch o.cmd.(type) {
			case *command.SendGroup, *command.SetGroup, *command.AnswerOwner:
				return true // also to a sender who has thereby accepted, and to the owner before
			case *command.EraseUser:
				return true // few, and none that anybody waits for
			}
			needs := o.cmd.Needs()
			return needs.AllShards || needs.Peer == p.To || slices.Contains(needs.Members, p.To)
		})
		if !needed {
			var kinds []string
			for _, o := range orders {
				kinds = append(kinds, fmt.Sprintf("%T", o.cmd))
			}
			w.failf("a letter to %s, of which no Needs says so: %v", p.To, kinds)
		}
	}
}

func (w *world) checkLetter(p *shard.Posted, want *command.Letter) {
	got, err := command.DecodeLetter(p.Bytes)
	switch {
	case err != nil:
		w.failf("DecodeLetter of a posted letter: %v", err)
	case p.From != want.From || p.To != want.To || p.Number != want.Number:
		w.failf("letter %d from %s to %s, want %d from %s to %s", p.Number, p.From, p.To, want.Number, want.From, want.To)
	case got.From != want.From || got.To != want.To || got.Number != want.Number || got.Kind != want.Kind ||
		got.Seq != want.Seq || got.Time != want.Time || got.ID != want.ID || got.CID != want.CID || got.TTL != want.TTL ||
		!slices.Equal(got.Mentions, want.Mentions) || !bytes.Equal(got.Body, want.Body):
		w.failf("letter = %+v, want %+v", got, *want)
	}
}

// checkOutbox compares all letters that wait in a shard.
func (w *world) checkOutbox(sh *simShard) {
	ms := w.model.shards[sh.index]
	type direction struct{ from, to command.UserID }
	got := map[direction]int{}
	sh.leader.Letters(func(p shard.Posted) bool {
		waiting := w.model.waiting(p.From, p.To)
		n := got[direction{p.From, p.To}]
		if !w.model.serves(ms, p.From) || n >= len(waiting) {
			w.failf("Letters gives letter %d from %s to %s, want none", p.Number, p.From, p.To)
		}
		w.checkLetter(&p, &waiting[n])
		got[direction{p.From, p.To}]++
		return true
	})
	for _, id := range w.groups {
		if g := w.model.group(id); w.model.serves(ms, id.Key()) {
			for to, waiting := range g.letters {
				if n := got[direction{id.Key(), to}]; n != len(waiting) {
					w.failf("Letters(%s to %s) = %d letters, want %d", id.Key(), to, n, len(waiting))
				}
			}
		}
	}
	for _, from := range w.users {
		if !w.model.serves(ms, from) {
			continue
		}
		u := w.model.user(from)
		for _, to := range u.peers {
			if n, want := got[direction{from, to}], len(u.outbox(to).waiting); n != want {
				w.failf("Letters(%s to %s) = %d letters, want %d", from, to, n, want)
			}
		}
	}
}

// checkTouched compares one of the users that a batch changed, between replicas
// and with the model: what goes wrong stays wrong, and is met again.
func (w *world) checkTouched(sh *simShard) {
	n := len(sh.outcome.Users)
	if n == 0 {
		return
	}
	user := sh.outcome.Users[w.rng.IntN(n)]
	if w.chance(10) {
		w.compareSlot(sh, sh.follower, user)
	}
	if w.chance(40) {
		w.checkUser(user)
	}
}
