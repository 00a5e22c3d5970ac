package watch

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

const (
	// redialFirst and redialMost bound the pause before a broken stream is replaced.
	redialFirst = 20 * time.Millisecond
	redialMost  = 500 * time.Millisecond
	// refusedPause is the pause after which a leader that has refused a shard is told of
	// it again, unless another one has become known.
	refusedPause = 50 * time.Millisecond
	// ackPause is how long what sessions ack is gathered before leaders are told: less
	// than they wait for acks.
	ackPause = 250 * time.Millisecond
	// batchKeys bounds the Interests of one message.
	batchKeys = 512
)

// A Source is what a Follower needs of the store whose sessions are on its node. None of
// its methods may block.
type Source interface {
	// Keys returns what the node watches of a shard.
	Keys(shard uint32) []Key
	// Interest returns what a leader is to be told of a key, as of now; without acks if
	// they are not wanted. If the node does not watch it any more, End is set.
	Interest(k Key, acks bool) Interest

	Wake(user command.UserID, session command.SessionID)
	Kick(user command.UserID, session command.SessionID, reason string)
	// Gone is called when a leader does not know a session.
	Gone(user command.UserID, session command.SessionID)
	Signal(user command.UserID, session command.SessionID, s store.Signal)
	WakeGroup(group command.GroupID)
	WakeMember(group command.GroupID, user command.UserID) // user "": all members
	SignalGroup(m *query.Message)
	Presence(user command.UserID, online bool)
}

// A Follower is the end of a node whose sessions and groups have leaders on others. What
// the node watches lies in its Source: the Follower holds names of what leaders have not
// been told yet, at most each once.
type Follower struct {
	config  Config
	source  Source
	dial    func(ctx context.Context, node string) (Conn, error)
	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex // no method of source is called with it
	closed  bool
	leaders map[uint32]leadership
	again   map[uint32]bool // shards whose leader has refused, and is told again
	peers   map[string]*peer
}

// A leadership says who leads a shard.
type leadership struct {
	node string // "": nobody, or this node
	term uint64
}

// A peer is another node that leads, or has led, a shard.
type peer struct {
	node  string
	ready chan struct{}
	ctx   context.Context // ends with Forget or Close
	stop  context.CancelFunc

	// Guarded by Follower.mu.
	connected bool
	queue     []pendingKey
	queued    map[Key]*store.Acks // the keys in queue; of sessions that have ended, with what they had acked
	acks      bool                // wanted
	acked     map[Key]uint32      // sessions that have acked something, with their shards
	confirm   uint64
	confirmed uint64
}

// A pendingKey is one that a leader is to be told of.
type pendingKey struct {
	shard uint32
	key   Key
}

// NewFollower returns a Follower that opens streams with dial. Close ends it.
func NewFollower(source Source, dial func(ctx context.Context, node string) (Conn, error), c Config) *Follower {
	f := &Follower{
		config: c.withDefaults(), source: source, dial: dial,
		leaders: make(map[uint32]leadership), again: make(map[uint32]bool), peers: make(map[string]*peer),
	}
	f.ctx, f.stop = context.WithCancel(context.Background())
	return f
}

// Close ends all streams and returns when no goroutine is left.
func (f *Follower) Close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.stop()
	f.running.Wait()
}

// SetLeader says which node leads a shard in a term; "" is this node, or none. Terms below
// one that is known are ignored. The node is told of all that is watched of the shard. A
// leader that has logged in a session must be set before Tell names that session: an
// earlier one, which does not know that it is deposed, would find the session gone.
func (f *Follower) SetLeader(shard uint32, node string, term uint64) {
	f.mu.Lock()
	old := f.leaders[shard]
	now := leadership{node, term}
	if f.closed || term < old.term || now == old {
		f.mu.Unlock()
		return
	}
	f.leaders[shard] = now
	p := f.peers[node]
	if p == nil && node != "" {
		p = &peer{node: node, ready: make(chan struct{}, 1), queued: make(map[Key]*store.Acks)}
		p.ctx, p.stop = context.WithCancel(f.ctx)
		f.peers[node] = p
		f.running.Go(func() { f.follow(p) })
	}
	f.mu.Unlock()
	if p != nil {
		f.tellAll(p, shard)
	}
}

// Forget ends the stream to a node that is in the cluster no more, until SetLeader names
// it again. The shards that it led have no leader.
func (f *Follower) Forget(node string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.peers[node]
	if p == nil {
		return
	}
	delete(f.peers, node)
	p.stop()
	for shard, l := range f.leaders {
		if l.node == node {
			f.leaders[shard] = leadership{term: l.term}
		}
	}
}

// Nodes returns the nodes to which there is, or is to be, a stream.
func (f *Follower) Nodes() (nodes []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Keys(f.peers))
}

// Tell says that something changed about a key of a shard: that it is watched now, or is
// not any more, or a flag of it. acks is what a session that has ended had acked, nil for
// all others. Without a leader elsewhere Tell does nothing. It may be called with locks
// of the Source held.
func (f *Follower) Tell(shard uint32, k Key, acks *store.Acks) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p := f.peers[f.leaders[shard].node]; p != nil {
		p.add(pendingKey{shard, k}, acks)
	}
}

// TellAcks is Tell for a session that has acked something, if its leader wants to know. It
// is told a little later.
func (f *Follower) TellAcks(shard uint32, k Key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.peers[f.leaders[shard].node]
	if p == nil || !p.acks || !p.connected {
		return
	}
	if p.acked == nil {
		p.acked = make(map[Key]uint32)
		time.AfterFunc(ackPause, func() { f.tellAcked(p) })
	}
	p.acked[k] = shard
}

func (f *Follower) tellAcked(p *peer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	acked := p.acked
	p.acked = nil
	for k, shard := range acked {
		if f.leaders[shard].node == p.node {
			p.add(pendingKey{shard, k}, nil)
		}
	}
}

// WantsAcks reports whether the leader of a shard is on another node and wants to know
// what sessions ack.
func (f *Follower) WantsAcks(shard uint32) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.peers[f.leaders[shard].node]
	return p != nil && p.acks
}

// add queues a key, unless there is no stream: a new one begins with all keys. The caller
// holds Follower.mu.
func (p *peer) add(k pendingKey, acks *store.Acks) {
	if !p.connected {
		return
	}
	before, is := p.queued[k.key]
	if acks == nil {
		acks = before
	}
	p.queued[k.key] = acks
	if !is {
		p.queue = append(p.queue, k)
		signal(p.ready)
	}
}

// tellAll queues all that is watched of a shard.
func (f *Follower) tellAll(p *peer, shard uint32) {
	keys := f.source.Keys(shard)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.leaders[shard].node != p.node {
		return
	}
	if p.connected && f.config.Retold != nil {
		f.config.Retold.Inc()
	}
	for _, k := range keys {
		p.add(pendingKey{shard, k}, nil)
	}
}

// tellShards queues all that is watched of the shards that a peer leads.
func (f *Follower) tellShards(p *peer) {
	f.mu.Lock()
	var led []uint32
	for shard, l := range f.leaders {
		if l.node == p.node {
			led = append(led, shard)
		}
	}
	f.mu.Unlock()
	for _, shard := range led {
		f.tellAll(p, shard)
	}
}

// follow keeps a stream to a peer.
func (f *Follower) follow(p *peer) {
	pause := redialFirst
	for {
		conn, err := f.dial(p.ctx, p.node)
		if err == nil {
			began := time.Now()
			err = f.talk(p, conn)
			if time.Since(began) > redialMost {
				pause = redialFirst
			}
		}
		if p.ctx.Err() != nil {
			return
		}
		f.config.Log.Debug("no stream of watches", "peer", p.node, "error", err)
		select {
		case <-time.After(pause):
		case <-p.ctx.Done():
			return
		}
		pause = min(2*pause, redialMost)
	}
}

func (f *Follower) talk(p *peer, conn Conn) error {
	f.mu.Lock()
	p.connected, p.acks, p.confirm, p.confirmed = true, false, 0, 0
	f.mu.Unlock()
	f.tellShards(p)
	t := &talk{
		conn: conn, silence: f.config.Silence, ready: p.ready,
		next: func() []byte { return f.next(p) },
		hear: func(message []byte) error { return f.hear(p, message) },
	}
	err := t.run(p.ctx, &f.running)
	f.mu.Lock()
	defer f.mu.Unlock()
	p.connected, p.queue = false, nil
	clear(p.queued)
	return err
}

// next returns a message with what the peer is to be told, nil for nothing.
func (f *Follower) next(p *peer) []byte {
	w := newWriter()
	for w.bytes() == nil {
		f.mu.Lock()
		if p.confirmed < p.confirm {
			p.confirmed = p.confirm
			w.add(&item{kind: kindConfirmed, number: p.confirm})
		}
		n := min(len(p.queue), batchKeys)
		batch := p.queue[:n:n]
		if p.queue = p.queue[n:]; len(p.queue) == 0 {
			p.queue = nil
		}
		terms, left := make([]uint64, n), make([]*store.Acks, n)
		for i := range batch {
			left[i] = p.queued[batch[i].key]
			delete(p.queued, batch[i].key)
			if l := f.leaders[batch[i].shard]; l.node == p.node {
				terms[i] = l.term
			}
		}
		acks, more := p.acks, len(p.queue) > 0
		f.mu.Unlock()
		for i := range batch {
			if w.full() {
				f.putBack(p, batch[i:], left[i:])
				break
			}
			if terms[i] == 0 {
				continue // another node leads the shard, and has been told
			}
			w.scope(batch[i].shard, terms[i])
			it := item{kind: kindInterest, interest: f.source.Interest(batch[i].key, acks)}
			if left[i] != nil {
				it.interest.Acks = left[i]
			}
			w.add(&it)
		}
		if !more {
			break
		}
	}
	return w.bytes()
}

// putBack queues keys again, before the others, for which a message had no room.
func (f *Follower) putBack(p *peer, keys []pendingKey, acks []*store.Acks) {
	f.mu.Lock()
	defer f.mu.Unlock()
	back := make([]pendingKey, 0, len(keys)+len(p.queue))
	for i, k := range keys {
		if later, is := p.queued[k.key]; !is {
			p.queued[k.key] = acks[i]
			back = append(back, k)
		} else if later == nil {
			p.queued[k.key] = acks[i]
		}
	}
	p.queue = append(back, p.queue...)
}

// hear passes on what a peer says, unless it is about a shard that another leads.
func (f *Follower) hear(p *peer, message []byte) error {
	return items(message, func(it *item) error {
		switch s := f.source; it.kind {
		case kindWake:
			s.Wake(it.user, it.session)
		case kindKick:
			s.Kick(it.user, it.session, it.reason)
			f.mu.Lock()
			p.confirm = it.number
			f.mu.Unlock()
			signal(p.ready)
		case kindGone:
			if f.leads(p, it.shard, it.term) {
				s.Gone(it.user, it.session)
			}
		case kindSignal:
			s.Signal(it.user, it.session, it.signal)
		case kindWakeGroup:
			s.WakeGroup(it.group)
		case kindWakeMember:
			s.WakeMember(it.group, it.user)
		case kindSignalGroup:
			s.SignalGroup(it.message)
		case kindPresence:
			if f.leads(p, it.shard, it.term) {
				s.Presence(it.user, it.online)
			}
		case kindAcks:
			f.mu.Lock()
			begin := it.wanted && !p.acks
			p.acks = it.wanted
			f.mu.Unlock()
			if begin {
				f.tellShards(p)
			}
		case kindRefused:
			f.refused(p, it.shard, it.term)
		}
		return nil
	})
}

// leads reports whether a peer leads a shard in a term, as far as is known.
func (f *Follower) leads(p *peer, shard uint32, term uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.leaders[shard] == leadership{p.node, term}
}

// refused tells a leader again later, if it does not hold itself for the leader yet.
func (f *Follower) refused(p *peer, shard uint32, term uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.again[shard] || f.leaders[shard] != (leadership{p.node, term}) {
		return
	}
	f.again[shard] = true
	f.running.Go(func() {
		select {
		case <-time.After(refusedPause):
		case <-f.ctx.Done():
			return
		}
		f.mu.Lock()
		delete(f.again, shard)
		p := f.peers[f.leaders[shard].node]
		f.mu.Unlock()
		if p != nil {
			f.tellAll(p, shard)
		}
	})
}
