package replica

import (
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// When who stands for election. With T for Config.ElectionTimeout, counted from when a
// replica heard of the leader last:
//
//	2/3 T  it votes for others that stand
//	T      it stands if it is the first of the voters
//	4/3 T  it stands if it is the last, and has been asked by nobody who may win
//	2 T    it stands although it has been asked
//
// The second is for a first one that is gone, too, or whose log is behind. The order is that
// of Raft's configuration without the leader. Left to itself Raft looks at random times: a
// follower stands after T to 3 T, and gets no vote before the other has looked. Two that
// look at once split the votes, and the next try is T to 2 T later.
//
// So a leader that is cut off, frozen or killed is followed by another one after T to 4/3 T,
// and after 3 T if the first election fails. A leader whose followers are not heard steps
// down after T, its lease. Each of its requests waits for the answer to the one before, so
// hardly anything is heard of it meanwhile. Were all of it heard, it would be 4 T in all:
// 1.6 s, with what a leader needs to begin below 1.8 s.

// turns is the part of T that lies between the turns of the first voter and of the last, and
// between being ready to vote and to stand. It is more than what two followers may differ in
// when they heard of the leader: heartbeats are sent every T/10 to T/5, and wait for up to
// 10 ms for those of other groups.
const turns = 3

// standInTime makes Raft stand for election when it is this replica's turn, until the
// replica is cut off.
func (in *instance) standInTime() {
	look := time.NewTimer(in.timeout)
	defer look.Stop()
	for {
		select {
		case <-in.peers.ended:
			return
		case <-look.C:
			look.Reset(in.standIfDue())
		}
	}
}

// standIfDue makes Raft stand for election if it is this replica's turn. It returns when
// to look again.
func (in *instance) standIfDue() time.Duration {
	heard := in.raft.LastContact()
	if in.raft.State() != raft.Follower || heard.IsZero() {
		in.setPatience(in.timeout)
		return in.timeout
	}
	due := heard.Add(in.timeout + in.turn())
	if asked := in.peers.askedFor(heard); !asked.IsZero() {
		due = asked.Add(in.timeout)
	}
	if left := time.Until(due); left > 0 {
		// Raft does not look before it is this replica's turn.
		in.setPatience(in.timeout + in.timeout/turns)
		return left
	}
	in.setPatience(in.timeout)
	return in.timeout
}

// setPatience sets for how long Raft must not have heard of the leader when it looks. It
// looks at once when that gets less.
func (in *instance) setPatience(d time.Duration) {
	c := in.raft.ReloadableConfig()
	if c.HeartbeatTimeout == d {
		return
	}
	c.HeartbeatTimeout, c.ElectionTimeout = d, d
	if err := in.raft.ReloadConfig(c); err != nil { // it is at least the lease
		in.replica.log.Error("Raft refuses a time-out of elections", "timeout", d, "err", err)
	}
}

// turn returns how much later than the first voter this one stands.
func (in *instance) turn() time.Duration {
	_, leader := in.raft.LeaderWithID()
	servers := in.peers.servers()
	own := slices.IndexFunc(servers, func(s raft.Server) bool { return s.ID == in.peers.id })
	voters, before := 0, 0
	for i, s := range servers {
		if s.Suffrage == raft.Voter && s.ID != leader {
			voters++
			if i < own {
				before++
			}
		}
	}
	return in.timeout / turns * time.Duration(before) / time.Duration(max(voters-1, 1))
}

// heedless returns a request for a vote so that Raft looks only at the candidate's term and
// log, once this replica has not heard of the leader for a while. Raft itself refuses as
// long as it has not looked.
func (p *peers) heedless(command any) any {
	r := p.raft.Load()
	if r == nil || r.State() == raft.Leader || time.Since(r.LastContact()) < p.faith {
		return command
	}
	switch request := command.(type) {
	case *raft.RequestVoteRequest:
		vote := *request // others may be asked with the same one
		vote.LeadershipTransfer = true
		return &vote
	case *raft.RequestPreVoteRequest:
		leader, id := r.LeaderWithID()
		// A leader that has stepped down may be deaf.
		if request.LastLogIndex >= r.LastIndex() && raft.ServerID(request.ID) != id {
			p.asked.Store(new(time.Now()))
		}
		vote := *request
		vote.Addr = []byte(leader) // the only one that Raft would hear now
		return &vote
	}
	return command
}

// askedFor returns when a candidate that may win asked for a vote, zero if none has since
// the leader was heard of.
func (p *peers) askedFor(heard time.Time) time.Time {
	if asked := p.asked.Load(); asked != nil && asked.After(heard) {
		return *asked
	}
	return time.Time{}
}
