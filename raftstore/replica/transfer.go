package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/hashicorp/raft"
)

// pollEvery is how often a transfer looks how far it is.
const pollEvery = time.Millisecond

// Transfer hands the leadership over to another replica, or to the one that is best
// suited if to is "". It returns nil once that one leads. Commands that come meanwhile
// wait; if the transfer fails, this replica goes on with them. After an error this replica
// may or may not lead.
func (r *Replica) Transfer(ctx context.Context, to string) error {
	l := r.leadership.Load()
	if l == nil {
		return r.unavailable()
	}
	if err := l.transfer(ctx, to); err != nil {
		return fmt.Errorf("raftstore: shard %d: transfer: %w", r.cfg.Shard, err)
	}
	return nil
}

// Fit returns nil if another replica could take the leadership over from this one now,
// or why not.
func (r *Replica) Fit(id string) error {
	l := r.leadership.Load()
	if l == nil {
		return r.unavailable()
	}
	_, err := l.successor(id)
	return err
}

// transfer is Transfer. Raft has such a thing itself. It refuses commands meanwhile, and
// those that come after a transfer that has failed would overtake them; it reports success
// when nobody leads afterwards; and it may go on refusing when it should have ended.
func (l *leadership) transfer(ctx context.Context, to string) error {
	if !l.transferring.TryLock() {
		return store.Unavailable(store.DefaultRetryAfter, "another transfer is on its way")
	}
	defer l.transferring.Unlock()
	to, err := l.successor(to)
	if err != nil {
		return err
	}
	l.proposing <- struct{}{}
	err = l.handTo(ctx, to)
	<-l.proposing
	if err != nil {
		return err
	}
	l.replica.metrics.handovers.Inc()
	return l.awaitLeader(ctx, to)
}

// successor returns the replica that is to lead next: to, or the one that is least
// behind. It refuses one that could not win an election, or not soon.
func (l *leadership) successor(to string) (string, error) {
	r := l.replica
	var want []Member
	if r.cfg.Desired != nil {
		want = r.cfg.Desired()
	}
	refusal := errors.New("no other voter is caught up and reached")
	if to != "" {
		refusal = fmt.Errorf("%s is no member", to)
	}
	refuse := func(format string, args ...any) {
		if to != "" {
			refusal = fmt.Errorf(format, args...)
		}
	}
	var best MemberState
	voters, live := 0, 0
	for _, m := range r.Members() {
		own := m.ID == r.cfg.ID
		if m.Voter {
			voters++
			if own || l.inContact(m.ID) {
				live++
			}
		}
		leaves := len(want) > 0 && !slices.ContainsFunc(want, func(w Member) bool { return w.ID == m.ID && !w.Away })
		switch {
		case own && to == m.ID:
			return "", fmt.Errorf("%s leads already", to)
		case own, to != "" && m.ID != to, to == "" && leaves:
		case !m.Voter:
			refuse("%s has no vote", m.ID)
		case !l.inContact(m.ID):
			refuse("%s does not answer", m.ID)
		case !l.caughtUp(m):
			refuse("%s lacks %d entries", m.ID, l.instance.raft.LastIndex()-m.Matched)
		case best.ID == "" || m.Matched > best.Matched:
			best = m
		}
	}
	switch {
	case best.ID == "":
		return "", refusal
	case live < voters/2+1:
		return "", fmt.Errorf("only %d of %d voters answer", live, voters)
	}
	return best.ID, nil
}

// handTo makes another replica stand for election, once it has all that was proposed
// here. It returns nil once this replica leads no more. Nothing must be proposed
// meanwhile.
func (l *leadership) handTo(ctx context.Context, to string) error {
	in := l.instance
	committed := make(chan error, 1)
	in.calls.Go(func() { committed <- in.raft.Barrier(enqueueTimeout).Error() })
	if err := poll(ctx, max(2*in.timeout, enqueueTimeout), func() bool { return len(committed) > 0 }); err != nil {
		return fmt.Errorf("nothing is committed: %w", err)
	}
	if err := <-committed; err != nil {
		return err
	}
	id := raft.ServerID(to)
	complete := func() bool { return in.peers.follower(l.term, id).matched >= in.raft.LastIndex() }
	if err := poll(ctx, in.timeout, complete); err != nil {
		return fmt.Errorf("%s does not catch up: %w", to, err)
	}
	refused := make(chan error, 1)
	in.calls.Go(func() {
		request := raft.TimeoutNowRequest{RPCHeader: in.header()}
		if err := in.peers.TimeoutNow(id, raft.ServerAddress(to), &request, new(raft.TimeoutNowResponse)); err != nil {
			refused <- err
		}
	})
	over := func() bool {
		return len(refused) > 0 || in.raft.State() != raft.Leader || in.raft.CurrentTerm() != l.term
	}
	// An election that the other one wins makes this replica step down.
	if err := poll(ctx, 2*in.timeout, over); err != nil {
		return fmt.Errorf("%s is not elected: %w", to, err)
	}
	select {
	case err := <-refused:
		return fmt.Errorf("%s cannot be told: %w", to, err)
	default:
		return nil
	}
}

// awaitLeader returns nil once to leads.
func (l *leadership) awaitLeader(ctx context.Context, to string) error {
	var leader raft.ServerID
	known := func() bool {
		_, leader = l.instance.raft.LeaderWithID()
		return leader != "" && l.instance.raft.CurrentTerm() != l.term
	}
	if err := poll(ctx, 5*l.instance.timeout, known); err != nil {
		return fmt.Errorf("nobody leads afterwards: %w", err)
	}
	if string(leader) != to {
		return fmt.Errorf("%s leads instead of %s", leader, to)
	}
	return nil
}

// poll returns nil as soon as ok does, or an error after a time or when ctx ends.
func poll(ctx context.Context, within time.Duration, ok func() bool) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for end := time.Now().Add(within); !ok(); {
		if time.Now().After(end) {
			return context.DeadlineExceeded
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

// Campaign makes this replica stand for election at once, without regard to a leader
// that the others may have. It is for when the leader is known to be gone. A replica that
// leads itself begins a new term.
func (r *Replica) Campaign() error {
	in := r.instance.Load()
	if in == nil {
		return r.unavailable()
	}
	return in.peers.campaign(in.header())
}

// header is what Raft puts before its requests.
func (in *instance) header() raft.RPCHeader {
	id := []byte(in.replica.cfg.ID)
	return raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: id, Addr: id}
}
