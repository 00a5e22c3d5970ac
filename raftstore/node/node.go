// Package node runs a node of a cluster: it opens the link to the other nodes,
// placement and a store, and has the store follow the map.
package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/belfry-im/belfry/raftstore"
	"github.com/belfry-im/belfry/raftstore/link"
	"github.com/belfry-im/belfry/raftstore/peer"
	"github.com/belfry-im/belfry/raftstore/placement"
	"github.com/belfry-im/belfry/raftstore/versions"
	"github.com/belfry-im/belfry/raftstore/watch"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
)

// A Config is what a node needs beside the configuration of its store.
type Config struct {
	Listen    string         // host:port for the other nodes
	Advertise string         // host:port at which they reach it
	TLS       *link.TLSFiles // nil only on a loopback address or with Insecure
	Insecure  bool
	Join      []string // host:port of other nodes
	Expect    int      // how many new nodes begin a cluster together; 0: this one joins one
	AutoAdmit bool     // admit nodes that ask this one to join
	Roles     placement.Roles
	WAN       bool // nodes are far from each other: time-outs are longer
}

// electionTimeout returns raftstore.Config.ElectionTimeout, 0 for its default.
func (c *Config) electionTimeout() time.Duration {
	if c.WAN {
		return wanElection
	}
	return 0
}

const (
	// tendEvery is how often a node looks whether its part is as the map has it.
	tendEvery = time.Second
	// proposeTimeout bounds one attempt to note something in the map.
	proposeTimeout = 5 * time.Second
	// wanElection is the time-out of elections of shards when nodes are far from each other.
	wanElection = time.Second
	// maxPending bounds the notes that wait for placement. The store repeats those that
	// are dropped with the next map.
	maxPending = 4 * placement.MaxShards
)

// speaks has the versions of what nodes of this binary read from each other.
var speaks = versions.Set{
	versions.Status:    raftstore.StatusVersions,
	versions.Exchange:  peer.Versions,
	versions.Watch:     watch.Versions,
	versions.Placement: placement.Versions,
	versions.Commands:  versions.Only(command.BatchVersion),
	versions.Snapshots: {Oldest: shard.OldestStateVersion, Newest: shard.StateVersion},
}

// A Node is one node of a cluster.
type Node struct {
	name  string
	log   *slog.Logger
	data  *raftstore.DataDir
	link  *link.Link
	group *placement.Group
	store atomic.Pointer[raftstore.Store] // nil until it is open
	notes chan placement.Command
	open  atomic.Bool // group is set; others may ask before
	looks atomic.Pointer[LookFunc]

	stop   context.CancelFunc
	runs   sync.WaitGroup
	once   sync.Once
	closed error
}

// Open starts a node. It does not wait for the other nodes: until this one takes part in
// a cluster, its store is not ready.
func Open(cfg raftstore.Config, c Config) (n *Node, err error) {
	cfg.Log = cmp.Or(cfg.Log, slog.New(slog.DiscardHandler))
	n = &Node{name: cfg.Node, log: cfg.Log, notes: make(chan placement.Command, maxPending)}
	if n.data, err = raftstore.OpenDataDir(cfg, true); err != nil {
		return nil, err
	}
	opened := []interface{ Close() error }{n.data}
	defer func() {
		if err != nil {
			for i := len(opened) - 1; i >= 0; i-- {
				err = errors.Join(err, opened[i].Close())
			}
			n = nil
		}
	}()
	dir := filepath.Join(cfg.Dir, "placement")
	if err := n.checkPlacement(dir); err != nil {
		return n, err
	}
	if _, err := os.Stat(mapFile(dir)); errors.Is(err, fs.ErrNotExist) {
		if err := n.data.MakeShards(cfg); err != nil {
			return n, err
		}
	}
	n.link, err = link.Open(link.Config{
		ID: link.NodeID(n.data.Node()), Name: cfg.Node, Listen: c.Listen, Cluster: n.data.Cluster(),
		TLS: c.TLS, Insecure: c.Insecure, Speaks: speaks, OnStatus: n.onStatus, OnPeer: n.onPeer,
		Log: cfg.Log, Metrics: cfg.Registerer,
	})
	if err != nil {
		return n, err
	}
	opened = append(opened, n.link)
	n.register()
	network := placement.OverLink(n.link)
	over := raftstore.OverLink(n.link)

	cfg.Data = n.data
	cfg.ElectionTimeout = cmp.Or(cfg.ElectionTimeout, c.electionTimeout())
	cfg.Cluster = &raftstore.Cluster{Node: n.data.Node(), Map: blank(), Link: over, Made: n.made, Waits: n.waits}
	s, err := raftstore.Open(cfg)
	if err != nil {
		opened = opened[1:] // the store has closed data
		return n, err
	}
	opened[0] = s
	n.store.Store(s)
	if err := n.link.Start(); err != nil {
		return n, err
	}
	seed, err := n.data.Seed(cfg, c.Expect)
	if err != nil {
		return n, err
	}
	n.group, err = placement.Open(placement.GroupConfig{
		Dir: dir, Network: network, Join: c.Join, Expect: c.Expect, Solo: n.data.Solo(), Seed: seed,
		Node:      placement.Node{ID: n.data.Node(), Name: cfg.Node, Address: c.Advertise, Roles: c.Roles},
		AutoAdmit: c.AutoAdmit, WAN: c.WAN, Hold: cfg.Hold, Log: cfg.Log,
	})
	if err != nil {
		return n, err
	}
	n.open.Store(true)
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	n.runs.Go(func() { n.tend(ctx) })
	n.runs.Go(func() { n.note(ctx) })
	return n, nil
}

// checkPlacement refuses a node whose votes are lost.
func (n *Node) checkPlacement(dir string) error {
	if n.data.Cluster() == "" {
		return nil
	}
	if _, err := os.Stat(mapFile(dir)); err != nil {
		return fmt.Errorf("%w; %s is what this node knows of cluster %s, and may have its votes: begin with an empty data folder, and then run on another node the command that this one names: belfry cluster replace-node %s UUID", err, dir, n.data.Cluster(), n.name)
	}
	return nil
}

// mapFile returns the path of the newest map that the node has seen.
func mapFile(dir string) string { return filepath.Join(dir, "map.json") }

// blank stands for the map until there is one: a single shard that is nowhere.
func blank() *placement.Map {
	return &placement.Map{
		Shards: []placement.Shard{{ID: 0}},
		Slots:  []placement.SlotRange{{First: 0, Last: command.Slots - 1}},
	}
}

// Store returns the node's store.
func (n *Node) Store() *raftstore.Store { return n.store.Load() }

// Placement returns the node's part in placement.
func (n *Node) Placement() *placement.Group { return n.group }

// Link returns the node's link.
func (n *Node) Link() *link.Link { return n.link }

// Failed is closed when the node cannot go on, or was closed.
func (n *Node) Failed() <-chan struct{} { return n.group.Done() }

// Failure returns why the node cannot go on, nil while it can.
func (n *Node) Failure() error { return n.group.Err() }

// Ready returns nil if the node takes part in a cluster and reaches the leaders of all
// shards.
func (n *Node) Ready() error { return n.Store().Ready() }

// waits returns what this node waits for before it takes part in a cluster, "" once it
// does.
func (n *Node) waits() string {
	if !n.open.Load() {
		return "its start"
	}
	if waits := n.group.Waiting(); waits != "" {
		return waits
	}
	if n.group.Map().Cluster == "" {
		return "a cluster"
	}
	return ""
}

// Close ends the node: first the replicas, which commit what they have accepted, then
// what connects them.
func (n *Node) Close() error {
	n.once.Do(func() {
		n.stop()
		n.runs.Wait()
		n.closed = errors.Join(n.Store().Close(), n.group.Close(), n.link.Close())
	})
	return n.closed
}

// tend keeps the store as the map has it, until ctx ends.
func (n *Node) tend(ctx context.Context) {
	var said string
	for {
		m := n.group.Map()
		if m.Cluster != "" {
			if err := n.data.Join(m.Cluster); err != nil {
				n.log.Error("it cannot be noted which cluster this node belongs to", "err", err)
			}
			err := n.Store().SetMap(m)
			if err != nil && err.Error() != said {
				n.log.Error("not all replicas of this node are open", "err", err)
			}
			said = ""
			if err != nil {
				said = err.Error()
			}
			for _, left := range n.Store().Left() {
				n.later(&left)
			}
		}
		next, cancel := context.WithTimeout(ctx, tendEvery)
		n.group.Next(next, m.Version)
		cancel()
		if ctx.Err() != nil || n.group.Err() != nil {
			return
		}
	}
}

// made is raftstore.Cluster.Made.
func (n *Node) made(shard uint32, replica string) {
	n.later(&placement.ReplicaMade{Shard: shard, ID: replica})
}

// later has a change proposed that is asked for again as long as the map does not show it.
func (n *Node) later(c placement.Command) {
	select {
	case n.notes <- c:
	default:
	}
}

// note proposes what the store has to note in the map, until ctx ends.
func (n *Node) note(ctx context.Context) {
	for {
		select {
		case c := <-n.notes:
			try, cancel := context.WithTimeout(ctx, proposeTimeout)
			if _, err := n.group.Propose(try, c); err != nil && ctx.Err() == nil {
				n.log.Warn("the map does not show yet what this node did", "err", err)
			}
			cancel()
		case <-ctx.Done():
			return
		}
	}
}

func (n *Node) onStatus(node link.NodeID, status []byte) {
	n.Store().PeerStatus(placement.NodeID(node), status)
}

func (n *Node) onPeer(node link.NodeID, state link.PeerState) {
	s, id := n.Store(), placement.NodeID(node)
	switch state {
	case link.Connected:
		s.PeerConnected(id)
	case link.Lost:
		s.PeerLost(id, false)
	case link.Gone:
		s.PeerLost(id, true)
	}
}
