package replica

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// convergeEvery is how often a leader compares the members with those that are
	// wanted.
	convergeEvery = 250 * time.Millisecond
	// caughtUpEntries is how many entries a replica may lack that is to get a vote, or
	// to lead.
	caughtUpEntries = 250
	// promoteAfter is the default of Config.PromoteAfter.
	promoteAfter = 10 * time.Second
)

// A MemberState is what a replica knows of a member of its shard.
type MemberState struct {
	ID    string
	Voter bool // else it learns: it has no vote, and counts for no quorum
	// The rest is known to the leader alone. Of itself it gives its last index.
	Matched uint64        // index up to which the member has the log
	Contact time.Duration // since it has answered; -1: it never did
	Behind  time.Duration // for how long it has lacked what the leader had half a second before
}

// Members lists the members of the shard as far as this replica knows, nil while it
// knows none.
func (r *Replica) Members() []MemberState {
	in := r.instance.Load()
	if in == nil {
		return nil
	}
	var members []MemberState
	term := in.raft.CurrentTerm()
	leads := in.raft.State() == raft.Leader
	for _, s := range in.servers() {
		m := MemberState{ID: string(s.ID), Voter: s.Suffrage == raft.Voter, Contact: -1}
		switch {
		case s.ID == raft.ServerID(r.cfg.ID):
			m.Matched, m.Contact = in.raft.LastIndex(), 0
		case leads:
			f := in.peers.follower(term, s.ID)
			m.Matched = f.matched
			if !f.current.IsZero() {
				m.Behind = max(0, time.Since(f.current)-watchEvery)
			}
			if !f.contact.IsZero() {
				m.Contact = time.Since(f.contact)
			}
		}
		members = append(members, m)
	}
	return members
}

func (in *instance) servers() []raft.Server {
	return in.raft.GetConfiguration().Configuration().Servers // never waits, never fails
}

// A change is one step from the members that a shard has to those that it is to have.
type change struct {
	action action
	id     string
}

type action uint8

const (
	keep     action = iota // nothing is to be done, or can be done now
	learn                  // add as non-voter
	promote                // give a vote
	remove                 // remove
	handOver               // let another one lead: the leader itself is to be removed
)

func (a action) String() string {
	return [...]string{"keep", "add as learner", "give a vote", "remove", "hand over"}[a]
}

// nextChange returns the next step from have to want for the leader self. live reports
// whether a member takes part at present, ready whether it may get a vote. There is none
// whose result would lack a quorum of live voters.
func nextChange(self string, have []MemberState, want []Member, live, ready func(id string) bool) change {
	if len(want) == 0 {
		return change{}
	}
	voters := make(map[string]bool)
	for _, m := range have {
		if m.Voter {
			voters[m.ID] = true
		}
	}
	// quorate reports whether the voters without one, and with another, have a quorum.
	quorate := func(without, with string) bool {
		all, alive := 0, 0
		count := func(id string) {
			all++
			if live(id) {
				alive++
			}
		}
		for id := range voters {
			if id != without {
				count(id)
			}
		}
		if with != "" {
			count(with)
		}
		return alive >= all/2+1
	}
	complete := true
	var next change
	for _, m := range want {
		switch known := slices.ContainsFunc(have, func(h MemberState) bool { return h.ID == m.ID }); {
		case !known:
			return change{learn, m.ID}
		case !voters[m.ID]:
			complete = false
			if next.action == keep && ready(m.ID) && quorate("", m.ID) {
				next = change{promote, m.ID}
			}
		}
	}
	if !complete {
		return next
	}
	// Whoever has no vote or does not live is no loss, so they go first, and the leader
	// goes last.
	cost := func(m MemberState) int {
		switch {
		case !m.Voter:
			return 0
		case m.ID == self:
			return 3
		case live(m.ID):
			return 2
		}
		return 1
	}
	var surplus []MemberState
	for _, m := range have {
		if !slices.ContainsFunc(want, func(w Member) bool { return w.ID == m.ID }) {
			surplus = append(surplus, m)
		}
	}
	slices.SortStableFunc(surplus, func(a, b MemberState) int { return cost(a) - cost(b) })
	for _, m := range surplus {
		switch {
		case m.ID == self:
			return change{handOver, m.ID}
		case !m.Voter || quorate(m.ID, ""):
			return change{remove, m.ID}
		}
	}
	return change{}
}

// converge makes the members those that Config.Desired wants, until ctx ends.
func (l *leadership) converge(ctx context.Context) {
	ready := make(map[string]time.Time) // since when a learner has been caught up
	tick := time.NewTicker(convergeEvery)
	defer tick.Stop()
	for {
		if l.replica.cfg.Desired != nil {
			if want := l.replica.cfg.Desired(); len(want) > 0 {
				for l.changeMembers(ctx, want, ready) && ctx.Err() == nil {
				}
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// changeMembers makes the next step to the members that are wanted, and reports whether
// it has made one.
func (l *leadership) changeMembers(ctx context.Context, want []Member, ready map[string]time.Time) bool {
	r, raftOf := l.replica, l.instance.raft
	have := r.Members()
	live := func(id string) bool {
		i := slices.IndexFunc(want, func(m Member) bool { return m.ID == id })
		return id == r.cfg.ID || l.inContact(id) && (i < 0 || !want[i].Away)
	}
	l.noteReady(have, live, ready)
	next := nextChange(r.cfg.ID, have, want, live, func(id string) bool {
		since, ok := ready[id]
		return ok && time.Since(since) >= r.cfg.PromoteAfter
	})
	id, addr := raft.ServerID(next.id), raft.ServerAddress(next.id)
	var err error
	switch next.action {
	case keep:
		return false
	case learn:
		err = raftOf.AddNonvoter(id, addr, 0, enqueueTimeout).Error()
	case promote:
		err = raftOf.AddVoter(id, addr, 0, enqueueTimeout).Error()
	case remove:
		matched := l.instance.peers.follower(l.term, id).matched
		removal := raftOf.RemoveServer(id, 0, enqueueTimeout)
		if err = removal.Error(); err == nil && live(next.id) {
			l.instance.calls.Go(func() { l.farewell(id, matched, removal.Index()) })
		}
	case handOver:
		err = l.transfer(ctx, "")
	}
	if err == nil && next.action != handOver {
		// Raft takes no snapshot between a change of members and the next entry.
		err = raftOf.Barrier(enqueueTimeout).Error()
	}
	if err != nil {
		r.log.Warn("members not changed yet", "change", next.action.String(), "replica", next.id, "err", err)
		return false
	}
	r.log.Info("members changed", "change", next.action.String(), "replica", next.id)
	return true
}

// farewell tells a replica that it is no member any more: it sends the log from the entry
// that the replica is known to have to that of its removal, at index. Raft may have stopped
// before. If the replica does not answer, whoever runs it has to close it.
func (l *leadership) farewell(id raft.ServerID, matched, index uint64) {
	in := l.instance
	var before raft.Log
	if matched == 0 || matched > index || index-matched > caughtUpEntries || in.logs.GetLog(matched, &before) != nil {
		return
	}
	req := &raft.AppendEntriesRequest{
		RPCHeader: in.header(), Term: l.term,
		PrevLogEntry: matched, PrevLogTerm: before.Term, LeaderCommitIndex: index,
	}
	for i := matched + 1; i <= index; i++ {
		entry := new(raft.Log)
		if in.logs.GetLog(i, entry) != nil {
			return
		}
		req.Entries = append(req.Entries, entry)
	}
	var resp raft.AppendEntriesResponse
	if err := in.peers.sendOnce(id, req, &resp); err != nil || !resp.Success {
		l.replica.log.Info("removed replica not told", "replica", string(id), "err", err)
	}
}

// noteReady notes since when each learner has been caught up and reached.
func (l *leadership) noteReady(have []MemberState, live func(id string) bool, ready map[string]time.Time) {
	for _, m := range have {
		if m.Voter || !live(m.ID) || !l.caughtUp(m) {
			delete(ready, m.ID)
		} else if _, ok := ready[m.ID]; !ok {
			ready[m.ID] = time.Now()
		}
	}
}

// caughtUp reports whether a member has nearly all of the log.
func (l *leadership) caughtUp(m MemberState) bool {
	return m.Matched+caughtUpEntries >= l.instance.raft.LastIndex()
}

// inContact reports whether a member has answered within the time after which a leader
// would step down.
func (l *leadership) inContact(id string) bool {
	f := l.instance.peers.follower(l.term, raft.ServerID(id))
	return !f.contact.IsZero() && time.Since(f.contact) <= l.instance.timeout
}

// isRemoved reports whether this replica is no member any more. Raft's newest
// configuration may still be taken back, so what is wanted has to agree.
func (r *Replica) isRemoved(in *instance) bool {
	if in.removed.Load() {
		return true
	}
	if r.cfg.Desired == nil {
		return false
	}
	servers, want := in.servers(), r.cfg.Desired()
	return len(servers) > 0 && len(want) > 0 &&
		!slices.ContainsFunc(servers, func(s raft.Server) bool { return s.ID == raft.ServerID(r.cfg.ID) }) &&
		!slices.ContainsFunc(want, func(m Member) bool { return m.ID == r.cfg.ID })
}

// removal is the error with which serve ends once the replica is no member any more.
type removal struct{ id string }

func (e removal) Error() string {
	return fmt.Sprintf("raftstore: replica %s was removed from its shard", e.id)
}
