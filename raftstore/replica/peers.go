package replica

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

var (
	errCut        = errors.New("raftstore: replica is cut off from its shard")
	errGated      = errors.New("raftstore: disk hangs, the shard is left to another leader")
	errNotLeading = errors.New("raftstore: leadership has ended")
	errNotMember  = errors.New("raftstore: replica is no voter of its shard")
)

const (
	// resendFirst and resendMost bound the pause before entries are sent again that a
	// follower did not take.
	resendFirst = 10 * time.Millisecond
	resendMost  = 250 * time.Millisecond
)

// peers is the transport of one instance: the one of Config.Transport, and what Raft
// leaves open.
//
//   - Entries are not pipelined. Raft stops to replicate, for good, to a follower that
//     refuses pipelined entries under load.
//   - Entries that a follower does not take are sent again in short intervals. Raft's own
//     pauses grow to 10 s, and a follower that is back would lag for as long.
//   - A leader sends nothing once its leadership has ended, and nothing while its disk
//     hangs: see gate. Raft's heartbeats go on then.
//   - After cut nothing is sent, and nothing answered. Raft's heartbeats are sent and
//     answered beside its main goroutine, also when that is gone.
//   - It keeps what the followers have acknowledged.
type peers struct {
	raft.Transport
	preVote  raft.WithPreVote
	raft     atomic.Pointer[raft.Raft] // nil until it runs
	id       raft.ServerID
	faith    time.Duration // for how long a leader that is not heard of keeps others from getting votes
	incoming chan raft.RPC
	asked    atomic.Pointer[time.Time] // when a pre-vote was last asked for by one who may win; nil: never

	gated   atomic.Bool
	once    sync.Once
	ended   chan struct{}  // closed by cut
	forward sync.WaitGroup // the goroutine that fills incoming

	mu        sync.Mutex
	term      uint64 // of the leadership that followers is about
	followers map[raft.ServerID]*follower
}

// A follower is what a leader knows of another replica in its leadership.
type follower struct {
	matched    uint64    // index up to which it has the leader's log
	contact    time.Time // when it answered last; zero: never
	current    time.Time // when it last had what the leader had watchEvery before; set by the watchdog
	refused    int       // times it has refused entries, since it last took some
	installing int       // calls on their way that send a snapshot
}

// newPeers wraps t, which must be able to ask for pre-votes.
func newPeers(id raft.ServerID, faith time.Duration, t raft.Transport) (*peers, error) {
	preVote, ok := t.(raft.WithPreVote)
	if !ok {
		return nil, fmt.Errorf("raftstore: Transport: %T cannot ask for pre-votes", t)
	}
	p := &peers{
		Transport: t, preVote: preVote, id: id, faith: faith, incoming: make(chan raft.RPC),
		ended: make(chan struct{}), followers: make(map[raft.ServerID]*follower),
	}
	p.forward.Go(p.receive)
	return p, nil
}

// cut ends all sending and answering, at once. It may be called by any goroutine, and
// more than once.
func (p *peers) cut() { p.once.Do(func() { close(p.ended) }) }

func (p *peers) isCut() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// receive passes on what comes from other replicas, until cut.
func (p *peers) receive() {
	for {
		select {
		case rpc := <-p.Transport.Consumer():
			// Raft does not look whether it may lead.
			if _, ok := rpc.Command.(*raft.TimeoutNowRequest); ok && !p.isVoter(p.id) {
				rpc.Respond(nil, errNotMember)
				continue
			}
			rpc.Command = p.heedless(rpc.Command)
			select {
			case p.incoming <- rpc:
			case <-p.ended:
				rpc.Respond(nil, errCut)
				return
			}
		case <-p.ended:
			return
		}
	}
}

// Consumer returns the channel of RPCs from other replicas.
func (p *peers) Consumer() <-chan raft.RPC { return p.incoming }

// SetHeartbeatHandler makes handle answer heartbeats beside the others, until cut.
func (p *peers) SetHeartbeatHandler(handle func(raft.RPC)) {
	p.Transport.SetHeartbeatHandler(func(rpc raft.RPC) {
		if p.isCut() {
			rpc.Respond(nil, errCut)
			return
		}
		handle(rpc)
	})
}

// campaign makes this replica, which must be a voter, stand for election at once.
func (p *peers) campaign(header raft.RPCHeader) error {
	if !p.isVoter(p.id) {
		return errNotMember
	}
	answer := make(chan raft.RPCResponse, 1)
	request := raft.RPC{Command: &raft.TimeoutNowRequest{RPCHeader: header}, RespChan: answer}
	timeout := time.NewTimer(enqueueTimeout)
	defer timeout.Stop()
	select {
	case p.incoming <- request:
	case <-p.ended:
		return errCut
	case <-timeout.C:
		return raft.ErrEnqueueTimeout
	}
	select {
	case a := <-answer:
		return a.Error
	case <-p.ended:
		return errCut
	case <-timeout.C:
		return raft.ErrEnqueueTimeout
	}
}

// isVoter reports whether a replica has a vote in Raft's newest configuration.
func (p *peers) isVoter(id raft.ServerID) bool {
	for _, s := range p.servers() {
		if s.ID == id {
			return s.Suffrage == raft.Voter
		}
	}
	return false
}

func (p *peers) isMember(id raft.ServerID) bool {
	for _, s := range p.servers() {
		if s.ID == id {
			return true
		}
	}
	return false
}

func (p *peers) servers() []raft.Server {
	r := p.raft.Load()
	if r == nil {
		return nil
	}
	return r.GetConfiguration().Configuration().Servers // never waits, never fails
}

// mayLead returns nil if this replica may send as the leader of a term.
func (p *peers) mayLead(term uint64) error {
	if p.isCut() {
		return errCut
	}
	r := p.raft.Load()
	if r == nil || r.State() != raft.Leader || r.CurrentTerm() != term {
		return errNotLeading
	}
	if p.gated.Load() {
		return errGated
	}
	return nil
}

// AppendEntriesPipeline refuses to pipeline.
func (p *peers) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

// AppendEntries sends a heartbeat once, and entries until the follower has answered, or
// the leadership or the follower's membership has ended.
func (p *peers) AppendEntries(id raft.ServerID, target raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if req.PrevLogEntry == 0 && len(req.Entries) == 0 { // a heartbeat
		err := p.mayLead(req.Term)
		if err == nil {
			err = p.Transport.AppendEntries(id, target, req, resp)
		}
		if err == nil {
			p.change(req.Term, id, (*follower).answered)
		}
		return err
	}
	for pause := resendFirst; ; pause = min(2*pause, resendMost) {
		err := p.mayLead(req.Term)
		if err == nil {
			if err = p.Transport.AppendEntries(id, target, req, resp); err == nil {
				p.appended(id, req, resp)
				return nil
			}
		}
		if err == errCut || err == errNotLeading || !p.isMember(id) {
			return err
		}
		p.wait(pause)
	}
}

// sendOnce sends entries to a replica that need not be a member.
func (p *peers) sendOnce(id raft.ServerID, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if err := p.mayLead(req.Term); err != nil {
		return err
	}
	return p.Transport.AppendEntries(id, raft.ServerAddress(id), req, resp)
}

// appended notes the answer to a request with entries. After a refusal that is not about
// what the follower's log has it makes a pause, and Raft make none.
func (p *peers) appended(id raft.ServerID, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) {
	var refused int
	p.change(req.Term, id, func(f *follower) {
		f.answered()
		switch {
		case resp.Success:
			f.match(req.PrevLogEntry + uint64(len(req.Entries)))
		case !resp.NoRetryBackoff && resp.Term <= req.Term:
			f.refused++
			refused = f.refused
		}
	})
	if refused > 0 {
		p.wait(min(resendFirst<<min(refused-1, 10), resendMost))
		resp.NoRetryBackoff = true
	}
}

// wait returns after a pause, or when cut is called.
func (p *peers) wait(pause time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.ended:
	}
}

// InstallSnapshot sends a snapshot.
func (p *peers) InstallSnapshot(id raft.ServerID, target raft.ServerAddress, req *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	if err := p.mayLead(req.Term); err != nil {
		return err
	}
	p.change(req.Term, id, func(f *follower) { f.installing++ })
	defer p.change(req.Term, id, func(f *follower) { f.installing-- })
	err := p.Transport.InstallSnapshot(id, target, req, resp, data)
	if err == nil {
		p.change(req.Term, id, func(f *follower) {
			f.answered()
			if resp.Success {
				f.match(req.LastLogIndex)
			}
		})
	}
	return err
}

// RequestVote asks for a vote.
func (p *peers) RequestVote(id raft.ServerID, target raft.ServerAddress, req *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	if p.isCut() {
		return errCut
	}
	return p.Transport.RequestVote(id, target, req, resp)
}

// RequestPreVote asks whether there would be a vote.
func (p *peers) RequestPreVote(id raft.ServerID, target raft.ServerAddress, req *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	if p.isCut() {
		return errCut
	}
	return p.preVote.RequestPreVote(id, target, req, resp)
}

// TimeoutNow makes another replica stand for election.
func (p *peers) TimeoutNow(id raft.ServerID, target raft.ServerAddress, req *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse) error {
	if p.isCut() {
		return errCut
	}
	return p.Transport.TimeoutNow(id, target, req, resp)
}

// change calls f with what is known of a follower in the leadership of term, unless a
// later one has begun.
func (p *peers) change(term uint64, id raft.ServerID, f func(*follower)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if term < p.term {
		return
	}
	if term > p.term {
		p.term = term
		clear(p.followers)
	}
	of := p.followers[id]
	if of == nil {
		of = new(follower)
		p.followers[id] = of
	}
	f(of)
}

// follower returns what is known of a replica in the leadership of term.
func (p *peers) follower(term uint64, id raft.ServerID) (known follower) {
	p.change(term, id, func(f *follower) { known = *f })
	return known
}

func (f *follower) answered() { f.contact = time.Now() }

func (f *follower) match(index uint64) {
	f.refused = 0
	f.matched = max(f.matched, index)
}
