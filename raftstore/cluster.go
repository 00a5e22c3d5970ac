package raftstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/belfry-im/belfry/raftstore/peer"
	"github.com/belfry-im/belfry/raftstore/placement"
	"github.com/belfry-im/belfry/raftstore/replica"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/raftstore/versions"
	"github.com/belfry-im/belfry/raftstore/watch"
	"github.com/belfry-im/belfry/shard/codec"
	"google.golang.org/grpc"
)

// A Cluster is what a Store needs to be one node of several. All of it must be set.
type Cluster struct {
	Node placement.NodeID
	// Map is the newest map that this node knows. Later ones come by Store.SetMap.
	Map  *placement.Map
	Link Link
	// Made is told that the directory of a replica of this node is there, for placement
	// to note. It is told again with each map that does not say so yet. It must not
	// block.
	Made func(shard uint32, replica string)
	// Waits returns what the node waits for before it takes part in a cluster, "" once it
	// does; nil: nothing. It must not block.
	Waits func() string
}

// A Link connects this node with the others.
type Link interface {
	// Server takes the store's service. It is asked before the link starts.
	Server() grpc.ServiceRegistrar
	// Conn returns the connection to another node. Calls fail at once while that node is
	// not connected. Messages are []byte.
	Conn(node placement.NodeID) grpc.ClientConnInterface
	// Caller returns which node calls a service.
	Caller(ctx context.Context) (placement.NodeID, error)
	// Connected reports whether a node is connected with this one.
	Connected(node placement.NodeID) bool
	// SetStatus sets what all other nodes are told at once, and on connecting: they pass
	// it to Store.PeerStatus.
	SetStatus(status []byte) error
	// Offset returns the median of the other nodes' clocks against this one's, and of how
	// many.
	Offset() (median time.Duration, nodes int)
	// Replicate returns how a replica of this node talks to the others of its shard.
	// locate says at which node a replica is.
	Replicate(shard uint32, id string, locate func(id string) (placement.NodeID, bool)) Replication
}

// A Replication is a replica's way to the others of its shard.
type Replication struct {
	// Transport is replica.Config.Transport.
	Transport replica.TransportFunc
	// TakeOver has the replica stand for election when it is its turn, once the process
	// of the leader has ended. voters are the replicas of the shard.
	TakeOver func(ctx context.Context, voters []string) error
}

// termShift is where the term of Raft begins in leader.number.
const termShift = 16

// A cluster is the state that a Store has beside Cluster.
type cluster struct {
	Cluster

	heart *heart

	mu      sync.Mutex
	m       *placement.Map
	streams map[placement.NodeID]*peer.Stream
	closed  bool
	refused map[uint32]string // why replicas of this node are not open, by shard
	// statuses are what connected nodes have told. One may be known before the map names
	// the node, or a shard that it leads.
	statuses     map[placement.NodeID]nodeStatus
	own          pressure       // of this node
	ownChecksums shardChecksums // those that the others were told
	learning     sync.Mutex     // held while numbers are taken over, so that the newest come last
	// draining and slowUntil are why this node is to lead nothing, see declines.
	draining  bool
	slowUntil time.Time

	follower  *watch.Follower // of leaders on other nodes
	audiences *watch.Server   // of leaders on this one

	background sync.WaitGroup
	ctx        context.Context // ends with Close
	stop       context.CancelFunc
}

func newCluster(c *Cluster) *cluster {
	if c == nil {
		return nil
	}
	ctx, stop := context.WithCancel(context.Background())
	return &cluster{
		Cluster: *c, heart: newHeart(), m: c.Map, streams: make(map[placement.NodeID]*peer.Stream),
		statuses: make(map[placement.NodeID]nodeStatus), ctx: ctx, stop: stop,
	}
}

// streamTo returns the stream to another node, and opens one if there is none that is
// not broken. It returns nil for "", for this node, and for one that is not connected.
func (s *Store) streamTo(node placement.NodeID) *peer.Stream {
	c := s.cluster
	if node == "" || node == c.Node {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	stream := c.streams[node]
	if (stream == nil || stream.Broken()) && !c.closed {
		if !c.Link.Connected(node) { // it may be in the map no more
			delete(c.streams, node)
			return nil
		}
		stream = peer.Open(c.Link.Conn(node))
		c.streams[node] = stream
	}
	return stream
}

// closeStream breaks the stream to a node, so that what it has not answered is asked
// elsewhere.
func (c *cluster) closeStream(node placement.NodeID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if stream := c.streams[node]; stream != nil && !c.closed {
		delete(c.streams, node)
		c.background.Go(stream.Close)
	}
}

// start runs f in the background, unless the store is closing.
func (c *cluster) start(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.background.Go(f)
	}
}

// close closes all streams.
func (c *cluster) close() {
	c.mu.Lock()
	c.closed = true
	streams := c.streams
	c.streams = nil
	c.mu.Unlock()
	c.stop()
	c.follower.Close()
	c.audiences.Close()
	for _, stream := range streams {
		stream.Close()
	}
	c.background.Wait()
}

// led is replica.Config.OnLeader.
func (sh *localShard) led(term uint64) {
	if sh.store.cluster == nil {
		return
	}
	if term == 0 { // ends; what is left comes back until leader.Close
		if l := sh.serving.Swap(nil); l != nil {
			sh.leads.refused(l.number)
		}
		sh.store.publish()
		return
	}
	l := sh.leader.Load()
	if sh.ledTerm != term {
		sh.ledTerm, sh.ledTimes = term, 0
	}
	l.number = term<<termShift | sh.ledTimes
	sh.ledTimes++
	sh.serving.Store(l)
	sh.setLeader(sh.store.cluster.Node, l.number)
	sh.learn(sh.store.cluster.Node, l.number)
	sh.store.publish()
	sh.line.begin(l)
}

// learn is leads.learn, and counts news.
func (sh *shardRef) learn(node placement.NodeID, number uint64) bool {
	news := sh.leads.learn(node, number)
	if news {
		sh.metrics.leaders.Inc()
	}
	return news
}

const statusVersion = 1

// StatusVersions are those of the status that this binary reads.
var StatusVersions = versions.Only(statusVersion)

// Parts of a status. One that is not there has its zero value.
const (
	partDeclines  = 1 + iota // boolean: the node is to lead nothing
	partPressure             // pressure
	partLeads                // number of shards that it leads; of each: id, leader.number (uvarints)
	partChecksums            // shardChecksums
	endOfParts
)

// publish tells the other nodes which shards this one leads, how short of memory it is,
// whether it declines to lead, and the checksums of its replicas.
//
// A status is its version (1 byte) and parts: each a number (1 byte), a length, and what the
// number says.
func (s *Store) publish() {
	s.publishing.Lock()
	defer s.publishing.Unlock()
	told := nodeStatus{declines: s.declines() != "", numbers: make(map[uint32]uint64)}
	for _, sh := range s.shards() {
		if here := sh.here(); here != nil {
			if l := here.serving.Load(); l != nil {
				told.numbers[sh.id] = l.number
			}
		}
	}
	s.cluster.mu.Lock()
	told.pressure, told.checksums = s.cluster.own, s.cluster.ownChecksums
	s.cluster.mu.Unlock()
	if err := s.cluster.Link.SetStatus(told.append(nil)); err != nil {
		s.cfg.Log.Error("status not published", "err", err)
	}
}

// PeerStatus takes over the status of another node. Calls for one node must come in
// order.
func (s *Store) PeerStatus(node placement.NodeID, status []byte) {
	told, err := decodeStatus(status)
	if err != nil {
		s.cfg.Log.Error("status of another node cannot be read", "node", node, "err", err)
		return
	}
	s.cluster.mu.Lock()
	s.cluster.statuses[node] = told
	s.cluster.mu.Unlock()
	s.learnLeads(node)
}

// learnLeads takes over which shards another node leads.
func (s *Store) learnLeads(node placement.NodeID) {
	c := s.cluster
	c.learning.Lock()
	defer c.learning.Unlock()
	c.mu.Lock()
	told, known := c.statuses[node]
	c.mu.Unlock()
	if !known {
		return
	}
	for _, sh := range s.shards() {
		number, leads := told.numbers[sh.id]
		if !leads {
			sh.leads.left(node)
			continue
		}
		sh.setLeader(node, number)
		sh.line.wake(sh.learn(node, number))
	}
}

// A nodeStatus is what a node tells the others.
type nodeStatus struct {
	declines  bool // it is to lead nothing
	pressure  pressure
	numbers   map[uint32]uint64 // of the shards that it leads
	checksums shardChecksums
}

func (told *nodeStatus) append(dst []byte) []byte {
	x := codec.NewWriter(append(dst, statusVersion))
	for part := uint8(1); part < endOfParts; part++ {
		codec.Byte(&x, &part)
		codec.Item(&x, func(x *codec.Coder) { told.part(part, x) })
	}
	return x.B
}

// part writes or reads one part.
func (told *nodeStatus) part(part uint8, x *codec.Coder) {
	switch part {
	case partDeclines:
		codec.Bool(x, &told.declines)
	case partPressure:
		told.pressure.fields(x)
	case partLeads:
		numbersFields(&told.numbers, x)
	case partChecksums:
		told.checksums.fields(x)
	}
}

func numbersFields(numbers *map[uint32]uint64, x *codec.Coder) {
	n := codec.Len(x, len(*numbers), 2, 1<<16)
	if x.Writing() {
		for _, id := range slices.Sorted(maps.Keys(*numbers)) {
			number := (*numbers)[id]
			codec.Uint(x, &id)
			codec.Uint(x, &number)
		}
		return
	}
	*numbers = make(map[uint32]uint64, n)
	for range n {
		var id uint32
		var number uint64
		codec.Uint(x, &id)
		codec.Uint(x, &number)
		(*numbers)[id] = number
	}
}

func decodeStatus(status []byte) (told nodeStatus, err error) {
	x := codec.NewReader(status)
	if v := x.Decoder.Byte(); x.Err == nil {
		if err := StatusVersions.Check("status", int(v)); err != nil {
			return told, fmt.Errorf("raftstore: %w", err)
		}
	}
	for x.Err == nil && len(x.B) > 0 {
		part := x.Decoder.Byte()
		if part == 0 || part >= endOfParts {
			if err := versions.Unknown("part of a status", part); err != nil {
				return nodeStatus{}, fmt.Errorf("raftstore: %w", err)
			}
		}
		codec.Item(&x, func(x *codec.Coder) { told.part(part, x) })
	}
	if x.Err != nil {
		return nodeStatus{}, fmt.Errorf("raftstore: status: %w", x.Err)
	}
	return told, nil
}

// PeerConnected is to be called when another node has connected.
func (s *Store) PeerConnected(node placement.NodeID) {
	for _, sh := range s.shards() {
		if of, _, _ := sh.leads.get(); of == node {
			sh.line.wake(false)
		}
	}
}

// PeerLost is to be called when nothing is heard of another node any more. With gone,
// its process is known to have ended: replicas whose leader was there stand for election.
func (s *Store) PeerLost(node placement.NodeID, gone bool) {
	c := s.cluster
	c.closeStream(node)
	c.mu.Lock()
	delete(c.statuses, node)
	c.mu.Unlock()
	if !gone {
		return
	}
	m := s.clusterMap()
	for _, sh := range s.shards() {
		here := sh.here()
		of := m.Shard(sh.id)
		if here == nil || of == nil || here.replication.TakeOver == nil {
			continue
		}
		leader := of.On(node)
		if id, _ := here.local.Leader(); leader == nil || id != leader.ID {
			continue
		}
		var voters []string
		for _, r := range of.Replicas {
			voters = append(voters, r.ID)
		}
		c.start(func() {
			ctx, cancel := context.WithTimeout(c.ctx, 5*time.Second)
			defer cancel()
			if err := here.replication.TakeOver(ctx, voters); err != nil && ctx.Err() == nil {
				here.log.Info("no election after the leader's process has ended", "err", err)
			}
		})
	}
}

// forgetNodes ends what there is of nodes that are not in the map any more: the link does
// not say that it has lost those. A connected node is in a map that is newer than m, and
// tells once in which term it leads: what there is of it is kept.
func (s *Store) forgetNodes(m *placement.Map) {
	c := s.cluster
	c.mu.Lock()
	known := make(map[placement.NodeID]bool)
	for node := range c.streams {
		known[node] = true
	}
	for node := range c.statuses {
		known[node] = true
	}
	c.mu.Unlock()
	for _, node := range c.follower.Nodes() {
		known[placement.NodeID(node)] = true
	}
	for node := range known {
		if m.Node(node) != nil || c.Link.Connected(node) {
			continue
		}
		c.closeStream(node)
		c.follower.Forget(string(node))
		for _, sh := range s.shards() {
			sh.leads.left(node)
		}
		c.mu.Lock()
		delete(c.statuses, node)
		c.mu.Unlock()
	}
}

func (s *Store) clusterMap() *placement.Map {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	return s.cluster.m
}

// locate returns the node of a replica, for the transport.
func (s *Store) locate(id uint32) func(replica string) (placement.NodeID, bool) {
	return func(replica string) (placement.NodeID, bool) {
		sh := s.clusterMap().Shard(id)
		if sh == nil {
			return "", false
		}
		r := sh.Replica(replica)
		if r == nil {
			return "", false
		}
		return r.Node, true
	}
}

// members returns the replicas that a shard is to have. It is replica.Config.Desired.
func (s *Store) members(id uint32) []replica.Member {
	sh := s.clusterMap().Shard(id)
	if sh == nil {
		return nil
	}
	var members []replica.Member
	for _, r := range sh.Replicas {
		if !r.Leaving {
			members = append(members, replica.Member{ID: r.ID, Away: r.Node != s.cluster.Node && !s.cluster.Link.Connected(r.Node)})
		}
	}
	return members
}

// errNoCluster is returned by a Store that is no node of a cluster.
var errNoCluster = errors.New("raftstore: this node is not in a cluster")

// reachable returns nil if each shard has a leader that this node reaches, and this node
// is not on its way out.
func (s *Store) reachable() error {
	if s.owners.Load().shard(noShard) != nil {
		return store.Unavailable(store.DefaultRetryAfter, "the cluster has no shards yet")
	}
	var errs []error
	s.cluster.mu.Lock()
	draining := s.cluster.draining
	s.cluster.mu.Unlock()
	if draining {
		errs = append(errs, store.Unavailable(store.DefaultRetryAfter, "this node is being drained"))
	} else if offset, peers := s.cluster.Link.Offset(); peers >= 2 && offset.Abs() > maxOffset {
		errs = append(errs, store.Unavailable(store.DefaultRetryAfter, fmt.Sprintf("this node's clock is %v from the others'", offset.Round(time.Second))))
	}
	for _, sh := range s.shards() {
		errs = append(errs, sh.ready())
	}
	return errors.Join(errs...)
}
