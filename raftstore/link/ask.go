package link

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/raft"
)

// defaultTurn is Link.turn, except in tests.
const defaultTurn = 100 * time.Millisecond

// The small RPCs of Raft go over the control connection, so that neither a heartbeat nor
// an election waits for a connection to be made: on a busy machine, elections end before
// new connections are there, and begin again with more of them.

// heartbeat sends one. It is gathered with those of other groups.
func (t *Transport) heartbeat(s *session, id raft.ServerID, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	r, err := s.ask(t.question(askBeat, id, args.RPCHeader, args.Term), t.link.config.RPC, t.ctx.Done())
	if err != nil {
		return err
	}
	*resp = raft.AppendEntriesResponse{
		RPCHeader: r.header(), Term: r.term, LastLog: r.lastLog, Success: r.yes, NoRetryBackoff: r.noWait,
	}
	return nil
}

func (t *Transport) question(k askKind, id raft.ServerID, h raft.RPCHeader, term uint64) ask {
	return ask{
		kind: k, group: t.name, replica: string(id), term: term,
		version: uint64(h.ProtocolVersion), from: h.ID, fromAddr: h.Addr,
	}
}

func (a ask) header() raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: raft.ProtocolVersion(a.version), ID: a.from, Addr: a.fromAddr}
}

func (r reply) header() raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: raft.ProtocolVersion(r.version), ID: r.from, Addr: r.fromAddr}
}

// brief asks what is no use later.
func (t *Transport) brief(a ask) (reply, error) {
	p, err := t.nodeOf(raft.ServerID(a.replica))
	if err != nil {
		return reply{}, err
	}
	s, _ := p.current()
	if s == nil {
		return reply{}, errLost
	}
	r, err := s.ask(a, t.link.config.RPC, t.ctx.Done())
	if errors.Is(err, errStopped) {
		err = raft.ErrTransportShutdown
	}
	return r, err
}

// RequestVote implements raft.Transport. It fails at once while the node is not connected.
func (t *Transport) RequestVote(id raft.ServerID, _ raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	a := t.question(askVote, id, args.RPCHeader, args.Term)
	a.lastIndex, a.lastTerm, a.transfer = args.LastLogIndex, args.LastLogTerm, args.LeadershipTransfer
	r, err := t.brief(a)
	if err == nil {
		*resp = raft.RequestVoteResponse{RPCHeader: r.header(), Term: r.term, Granted: r.yes}
	}
	return err
}

// RequestPreVote implements raft.WithPreVote. It fails at once while the node is not
// connected.
func (t *Transport) RequestPreVote(id raft.ServerID, _ raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	a := t.question(askPreVote, id, args.RPCHeader, args.Term)
	a.lastIndex, a.lastTerm = args.LastLogIndex, args.LastLogTerm
	r, err := t.brief(a)
	if err == nil {
		*resp = raft.RequestPreVoteResponse{RPCHeader: r.header(), Term: r.term, Granted: r.yes}
	}
	return err
}

// TimeoutNow implements raft.Transport. It fails at once while the node is not connected.
func (t *Transport) TimeoutNow(id raft.ServerID, _ raft.ServerAddress, args *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse) error {
	r, err := t.brief(t.question(askTimeout, id, args.RPCHeader, 0))
	if err == nil {
		*resp = raft.TimeoutNowResponse{RPCHeader: r.header()}
	}
	return err
}

// take queues a question for the replica, and reports false if too many wait. It does
// not wait itself.
func (t *Transport) take(s *session, a ask) bool {
	if a.kind == askBeat {
		select {
		case t.beats <- heardBeat{ask: a, session: s}:
			return true
		default:
			return false
		}
	}
	select {
	case t.ballots <- struct{}{}:
	default:
		return false
	}
	return t.link.spawn(func() {
		defer func() { <-t.ballots }()
		s.answer(t.consult(a), true)
	})
}

// answerBeats hands heartbeats to the handler, which writes to the disk when a term is
// new: so each group has a goroutine of its own for it.
func (t *Transport) answerBeats() {
	for {
		select {
		case <-t.ctx.Done():
			return
		case h := <-t.beats:
			h.session.answer(t.answerBeat(h.ask), false)
		}
	}
}

// answerBeat returns what the handler says, and not what anybody believes about who leads.
func (t *Transport) answerBeat(a ask) reply {
	resp, err := t.handle(&raft.AppendEntriesRequest{RPCHeader: a.header(), Term: a.term})
	if err == nil && t.ctx.Err() != nil {
		err = raft.ErrTransportShutdown
	}
	if err != nil {
		return reply{call: a.call, failed: err.Error()}
	}
	if resp.Success {
		t.lastBeat.Store(time.Now().UnixNano())
	}
	r := replyWith(a, resp.RPCHeader, resp.Term, resp.Success)
	r.lastLog, r.noWait = resp.LastLog, resp.NoRetryBackoff
	return r
}

func replyWith(a ask, h raft.RPCHeader, term uint64, yes bool) reply {
	return reply{call: a.call, term: term, yes: yes, version: uint64(h.ProtocolVersion), from: h.ID, fromAddr: h.Addr}
}

// consult asks the replica's main goroutine, as an RPC of the replica to itself.
func (t *Transport) consult(a ask) (r reply) {
	self := raft.ServerAddress(t.local)
	var err error
	switch a.kind {
	case askVote:
		var resp raft.RequestVoteResponse
		err = t.net.RequestVote(t.local, self, &raft.RequestVoteRequest{
			RPCHeader: a.header(), Term: a.term, LastLogIndex: a.lastIndex, LastLogTerm: a.lastTerm, LeadershipTransfer: a.transfer,
		}, &resp)
		r = replyWith(a, resp.RPCHeader, resp.Term, resp.Granted)
	case askPreVote:
		var resp raft.RequestPreVoteResponse
		err = t.net.RequestPreVote(t.local, self, &raft.RequestPreVoteRequest{
			RPCHeader: a.header(), Term: a.term, LastLogIndex: a.lastIndex, LastLogTerm: a.lastTerm,
		}, &resp)
		r = replyWith(a, resp.RPCHeader, resp.Term, resp.Granted)
	default:
		var resp raft.TimeoutNowResponse
		err = t.net.TimeoutNow(t.local, self, &raft.TimeoutNowRequest{RPCHeader: a.header()}, &resp)
		r = replyWith(a, resp.RPCHeader, 0, true)
	}
	if err == nil && t.ctx.Err() != nil {
		err = raft.ErrTransportShutdown
	}
	if err != nil {
		return reply{call: a.call, failed: err.Error()}
	}
	return r
}

// handle calls the heartbeat handler, which returns without an answer once the replica
// has shut down.
func (t *Transport) handle(args *raft.AppendEntriesRequest) (*raft.AppendEntriesResponse, error) {
	handler := t.handler.Load()
	if handler == nil {
		return nil, errors.New("the replica has not started")
	}
	answer := make(chan raft.RPCResponse, 1)
	(*handler)(raft.RPC{Command: args, RespChan: answer})
	select {
	case a := <-answer:
		if a.Error != nil {
			return nil, a.Error
		}
		resp, ok := a.Response.(*raft.AppendEntriesResponse)
		if !ok {
			return nil, errors.New("the handler gave no answer to AppendEntries")
		}
		return resp, nil
	default:
		return nil, errShutDown
	}
}

// term returns the replica's current term, and reports whether it runs.
func (t *Transport) term() (term uint64, running bool) {
	term, _, running = t.probe()
	return term, running
}

// probe returns the replica's current term and last index, and reports whether it runs.
// It asks the heartbeat handler with a term that is over, which changes nothing: Raft
// has no such term once it has sent anything.
func (t *Transport) probe() (term, lastLog uint64, running bool) {
	if t.handler.Load() == nil {
		return 0, 0, true
	}
	resp, err := t.handle(&raft.AppendEntriesRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}})
	if err != nil {
		return 0, 0, !errors.Is(err, errShutDown)
	}
	return resp.Term, resp.LastLog, true
}

// Campaign has this replica stand for election at once, as a TimeoutNow of a leader
// would, without a vote beforehand. The replica must be a voter and must not lead.
func (t *Transport) Campaign(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	args := &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{
		ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(t.local), Addr: []byte(t.local),
	}}
	done := make(chan error, 1)
	go func() {
		done <- t.net.TimeoutNow(t.local, raft.ServerAddress(t.local), args, new(raft.TimeoutNowResponse))
	}()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case err := <-done: // or when the transport is closed
		return err
	}
}

// TakeOver is for voters whose leader's process has ended. It calls Campaign when it is
// this node's turn: at once if no other connected node with one of voters has a lower
// ID, 100 ms later for each that has. A node whose turn comes while another has just
// stood waits for one turn more, and does nothing if a leader is heard of by then.
func (t *Transport) TakeOver(ctx context.Context, voters []raft.ServerID) error {
	before := 0
	for _, id := range voters {
		if node, ok := t.locate(id); ok && node < t.link.config.ID {
			if p := t.link.peer(node); p != nil {
				if s, _ := p.current(); s != nil {
					before++
				}
			}
		}
	}
	if before == 0 {
		return t.Campaign(ctx)
	}
	start := time.Now()
	term, last, _ := t.probe()
	led := func() bool { // a leader beats, and begins its term with an entry
		nowTerm, nowLast, _ := t.probe()
		return t.lastBeat.Load() >= start.UnixNano() || nowTerm > term && nowLast > last
	}
	if err := t.turn(ctx, time.Duration(before)*t.link.turn); err != nil {
		return err
	}
	if now, _ := t.term(); now != term && !led() {
		if err := t.turn(ctx, t.link.turn); err != nil {
			return err
		}
	}
	if led() {
		return nil
	}
	return t.Campaign(ctx)
}

func (t *Transport) turn(ctx context.Context, d time.Duration) error {
	wait := time.NewTimer(d)
	defer wait.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.ctx.Done():
		return raft.ErrTransportShutdown
	case <-wait.C:
		return nil
	}
}
