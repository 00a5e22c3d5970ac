package link

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/raft"
)

// takeOverStep is how much later the next node stands for election.
const takeOverStep = 100 * time.Millisecond

// heartbeat sends one over the control connection.
func (t *Transport) heartbeat(s *session, stop <-chan struct{}, id raft.ServerID, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	a, err := s.heartbeat(beat{
		group: t.name, replica: string(id), term: args.Term,
		version: uint64(args.ProtocolVersion), from: args.ID, fromAddr: args.Addr,
	}, t.link.config.RPC, stop)
	if err != nil {
		return err
	}
	if a.failed != "" {
		return errors.New(a.failed)
	}
	*resp = raft.AppendEntriesResponse{
		RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersion(a.version), ID: a.from, Addr: a.fromAddr},
		Term:      a.term, LastLog: a.lastLog, Success: a.success, NoRetryBackoff: a.noWait,
	}
	t.follower(id).heard(args.Term, 0)
	return nil
}

// offer queues a heartbeat for the group's handler, and reports false if too many wait.
func (t *Transport) offer(h heardBeat) bool {
	select {
	case t.beats <- h:
		return true
	default:
		return false
	}
}

// answerBeats hands heartbeats to the handler, which writes to the disk when a term is
// new: so each group has a goroutine of its own for it.
func (t *Transport) answerBeats() {
	for {
		select {
		case <-t.ctx.Done():
			return
		case h := <-t.beats:
			h.session.ack(t.answer(h.beat))
		}
	}
}

// answer returns what the handler says, and not what anybody believes about who leads.
func (t *Transport) answer(b beat) beatAck {
	resp, err := t.handle(&raft.AppendEntriesRequest{
		RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersion(b.version), ID: b.from, Addr: b.fromAddr},
		Term:      b.term,
	})
	if err == nil && t.ctx.Err() != nil {
		err = raft.ErrTransportShutdown
	}
	if err != nil {
		return beatAck{call: b.call, failed: err.Error()}
	}
	if resp.Success {
		t.lastBeat.Store(time.Now().UnixNano())
	}
	return beatAck{
		call: b.call, term: resp.Term, lastLog: resp.LastLog, success: resp.Success, noWait: resp.NoRetryBackoff,
		version: uint64(resp.ProtocolVersion), from: resp.ID, fromAddr: resp.Addr,
	}
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
	case err := <-done: // within Config.RPC, or when the transport is closed
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
	if err := t.turn(ctx, time.Duration(before)*takeOverStep); err != nil {
		return err
	}
	if now, _ := t.term(); now != term && !led() {
		if err := t.turn(ctx, takeOverStep); err != nil {
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
