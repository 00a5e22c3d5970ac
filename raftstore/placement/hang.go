package placement

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/belfry-im/belfry/raftstore/diskgate"
)

// A gatedLog is a log whose appends a gate watches.
type gatedLog struct {
	raft.LogStore
	gate *diskgate.Gate
	took *diskgate.Latencies
}

func (l gatedLog) StoreLogs(entries []*raft.Log) error {
	l.gate.Begin()
	defer l.gate.End()
	start := time.Now()
	err := l.LogStore.StoreLogs(entries)
	l.took.Add(time.Since(start))
	return err
}

// A hang tells whether the disk below the log hangs.
type hang struct {
	mu sync.Mutex
	ch chan struct{} // closed while it hangs
	on bool
}

func newHang() *hang { return &hang{ch: make(chan struct{})} }

// set is called when the disk begins to hang, and with false when it goes on.
func (h *hang) set(on bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.on == on {
		return
	}
	h.on = on
	if on {
		close(h.ch)
	} else {
		h.ch = make(chan struct{})
	}
}

func (h *hang) is() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.on
}

// done returns a channel that is closed when the disk hangs.
func (h *hang) done() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ch
}

// gatedLog returns the log of m as Raft is to have it. As in a shard, an append that takes
// too long stops what this node sends as leader: Raft's heartbeats would go on, and nobody
// else be elected for as long as the disk takes.
func (g *Group) gatedLog(m *member) raft.LogStore {
	took := new(diskgate.Latencies)
	gate := diskgate.New(g.cfg.timeout, took.P99, func(shut bool) {
		m.hang.set(shut)
		if !shut || g.running() != m || m.raft.State() != raft.Leader {
			return
		}
		g.log.Error("disk hangs: placement is left to another leader")
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.member == m { // it is not closed, which waits for calls
			m.calls.Go(func() { m.handOver(g.cfg.Node.ID) })
		}
	})
	return gatedLog{m.stores.log, gate, took}
}

var errHangs = errors.New("placement: the disk hangs, another node is to lead")

// A transport carries the RPCs of Raft, but none that a leader sends while its disk hangs.
type transport struct {
	raft.Transport
	raft.WithPreVote
	hang *hang
}

func (g *Group) openTransport(h *hang) (*transport, error) {
	t, err := g.cfg.Network.Transport(g.cfg.Node.ID)
	if err != nil {
		return nil, err
	}
	preVote, ok := t.(raft.WithPreVote)
	if !ok {
		return nil, fmt.Errorf("placement: %T cannot ask for pre-votes", t)
	}
	return &transport{t, preVote, h}, nil
}

func (t *transport) AppendEntries(id raft.ServerID, target raft.ServerAddress, request *raft.AppendEntriesRequest, response *raft.AppendEntriesResponse) error {
	if t.hang.is() {
		return errHangs
	}
	return t.Transport.AppendEntries(id, target, request, response)
}

func (t *transport) InstallSnapshot(id raft.ServerID, target raft.ServerAddress, request *raft.InstallSnapshotRequest, response *raft.InstallSnapshotResponse, data io.Reader) error {
	if t.hang.is() {
		return errHangs
	}
	return t.Transport.InstallSnapshot(id, target, request, response, data)
}

// Close closes what is wrapped. Raft calls it, too.
func (t *transport) Close() error {
	if c, ok := t.Transport.(raft.WithClose); ok {
		return c.Close()
	}
	return nil
}

// handOver makes another voter stand for election at once. If that one is not elected,
// the others find out by themselves that nobody leads.
func (m *member) handOver(self NodeID) {
	for _, s := range m.raft.GetConfiguration().Configuration().Servers {
		if s.Suffrage != raft.Voter || NodeID(s.ID) == self {
			continue
		}
		request := raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{
			ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(self), Addr: []byte(self),
		}}
		if m.transport.TimeoutNow(s.ID, s.Address, &request, new(raft.TimeoutNowResponse)) == nil {
			return
		}
	}
}
