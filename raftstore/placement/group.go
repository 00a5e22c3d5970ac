package placement

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"golang.org/x/time/rate"
)

// A Network reaches the placement groups of other nodes. link.Link is one by way of
// OverLink.
type Network interface {
	// Serve says who answers the calls of others. It is called once, before any call
	// that this node makes.
	Serve(handle func(ctx context.Context, method string, request []byte) ([]byte, error))
	// Call calls a node that SetNodes has told of.
	Call(ctx context.Context, node NodeID, method string, request []byte) ([]byte, error)
	// CallAddress calls whichever node is at an address.
	CallAddress(ctx context.Context, address, method string, request []byte) ([]byte, error)
	// SetNodes says which nodes there are, and of which cluster, once that is known.
	SetNodes(cluster string, nodes []Node)
	// Transport returns the transport of Raft for the server local, which can ask for
	// pre-votes. Raft closes it if it is an io.Closer.
	Transport(local NodeID) (raft.Transport, error)
}

// A GroupConfig configures a Group. Dir, Node and Network are needed.
type GroupConfig struct {
	// Dir is the directory for the group's files:
	//
	//	map.json        the newest map that was seen
	//	founders.json   the nodes that this one founded the cluster with
	//	raft.db         log and votes
	//	snapshots/
	//
	// Beside it, DIR.voter has the mark of raft.db, see markVotes.
	Dir     string
	Node    Node // this one: ID, Name, Address, Roles
	Network Network

	// Join are addresses of nodes of the cluster, or of those to found it with.
	Join []string
	// Expect is --bootstrap-expect: how many nodes found the cluster; 0: it is there
	// already, or Solo begins it.
	Expect int
	// Solo: this node has shards of the time before the cluster, and founds it alone.
	Solo bool
	// Seed is what a cluster begins with that this node founds.
	Seed Seed
	// AutoAdmit: nodes that ask this one to join are admitted at once.
	AutoAdmit bool
	// WAN: the nodes are far from each other, so time-outs are longer.
	WAN bool

	// Hold is called before anything is written to Dir, and may wait; nil: nothing is. It
	// stands for a disk that hangs.
	Hold func()

	Log *slog.Logger // nil discards

	stores  func() (stores, error) // nil: files in Dir
	tick    time.Duration          // 0 = 1 s
	timeout time.Duration          // of heartbeats and elections; 0 = 1 s, with WAN 3 s
}

// A Seed is what a new cluster begins with.
type Seed struct {
	Epoch  uint64 // 0: the time
	Config Config // Version 0: the first
	Shards int    // 0: one
}

// ErrDuplicate means that a node with this one's UUID is running already.
var ErrDuplicate = errors.New("placement: another process runs as this node: its data folder is a copy")

// ErrRemoved means that this node was removed from its cluster.
var ErrRemoved = errors.New("placement: this node is not in its cluster any more")

// A Group is a node's part in placement: it knows the newest map that has reached this
// node, and votes on changes of it if this node is to.
type Group struct {
	cfg   GroupConfig
	log   *slog.Logger
	start string // of this run of the process; tells it from another with a copy of its files

	ctx  context.Context
	end  context.CancelCauseFunc
	runs sync.WaitGroup

	mu       sync.Mutex
	m        *Map
	changed  chan struct{} // closed and replaced when m changes
	founders []Join        // that this node founded the cluster with, nil if it did not
	view     []NodeID      // of the last round of founding, see found
	member   *member       // what Raft runs here, nil if nothing
	waiting  string        // why the node takes no part yet, "" if it does
	follows  NodeID        // the leader that probed this node last, at followed
	followed time.Time

	outsiders *rate.Limiter // calls of nodes that are not admitted

	saving   sync.Mutex // held while a map is taken over; m is only set with it
	saved    uint64     // version of the map on the disk; guarded by saving
	memberMu sync.Mutex // held while Raft is started or stopped here
}

// Open starts the group. It returns once the files are read; Wait waits until this node
// takes part in a cluster.
func Open(cfg GroupConfig) (*Group, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.tick == 0 {
		cfg.tick = time.Second
	}
	if cfg.timeout == 0 {
		cfg.timeout = time.Second
		if cfg.WAN {
			cfg.timeout = 3 * time.Second
		}
	}
	if cfg.Hold == nil {
		cfg.Hold = func() {}
	}
	if cfg.stores == nil {
		cfg.stores = func() (stores, error) { return openStores(cfg.Dir, cfg.Log, cfg.Hold) }
	}
	g := &Group{
		cfg: cfg, log: cfg.Log, start: rand.Text(),
		m: &Map{}, changed: make(chan struct{}),
		outsiders: rate.NewLimiter(outsiderRate, outsiderBurst),
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	if err := g.read(); err != nil {
		return nil, err
	}
	if err := g.checkStart(); err != nil {
		return nil, err
	}
	g.ctx, g.end = context.WithCancelCause(context.Background())
	cfg.Network.Serve(g.handle)
	g.tellNodes()
	if err := g.checkCopy(); err != nil {
		g.end(nil)
		return nil, err
	}
	if g.founders != nil || g.shouldVote() {
		switch err := g.openMember(saysNothing); {
		case errors.Is(err, errUnsure):
			g.log.Info("this node votes on the map once the leader has looked after it")
		case err != nil:
			g.end(nil)
			return nil, err
		}
	}
	g.runs.Go(g.enter)
	g.runs.Go(g.follow)
	g.runs.Go(g.lead)
	return g, nil
}

// read loads what earlier runs have left.
func (g *Group) read() error {
	var founders []Join
	if err := readJSON(filepath.Join(g.cfg.Dir, "founders.json"), &founders); err != nil {
		return err
	}
	g.founders = founders
	path := filepath.Join(g.cfg.Dir, "map.json")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	m, err := DecodeMap(data)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	g.m, g.saved = m, m.Version
	return nil
}

// checkStart refuses to begin where it is not clear which cluster the node is of.
func (g *Group) checkStart() error {
	c := &g.cfg
	if g.m.Cluster != "" || g.founders != nil {
		return nil
	}
	switch {
	case c.Solo && (c.Expect > 1 || len(c.Join) > 0):
		return errors.New("placement: join: this node has data, which it would lose in another cluster: start it without --join and --bootstrap-expect, and let the others join it")
	case c.Solo:
	case c.Expect == 0 && len(c.Join) == 0:
		return errors.New("placement: join: a new node needs --join with the addresses of others, or --bootstrap-expect 1 to begin a cluster alone")
	case c.Expect < 0 || c.Expect > maxVoters:
		return fmt.Errorf("placement: bootstrap-expect: %d is not within 1-%d", c.Expect, maxVoters)
	case c.Expect > 0 && len(g.others()) != c.Expect-1:
		return fmt.Errorf("placement: join: names %d nodes besides this one (%s); with --bootstrap-expect %d it has to name all %d others, and each of them alike",
			len(g.others()), c.Node.Address, c.Expect, c.Expect-1)
	}
	return nil
}

// Close ends the group's goroutines and closes its files.
func (g *Group) Close() error {
	g.end(nil)
	g.runs.Wait()
	return g.closeMember()
}

// Done is closed when the group has ended, by Close or for the reason that Err returns.
func (g *Group) Done() <-chan struct{} { return g.ctx.Done() }

// Err returns why the group has ended, nil while it runs and after Close.
func (g *Group) Err() error {
	if err := context.Cause(g.ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// Map returns the newest map that this node knows; one without Cluster if there is none.
func (g *Group) Map() *Map {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.m
}

// Next waits for a map that is newer than version.
func (g *Group) Next(ctx context.Context, version uint64) (*Map, error) {
	for {
		g.mu.Lock()
		m, changed := g.m, g.changed
		g.mu.Unlock()
		if m.Version > version {
			return m, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-g.ctx.Done():
			return nil, g.ended()
		}
	}
}

// Wait waits until this node takes part in a cluster, and returns the map.
func (g *Group) Wait(ctx context.Context) (*Map, error) {
	version := uint64(0)
	for {
		m, err := g.Next(ctx, version)
		if err != nil {
			return nil, err
		}
		if n := m.Node(g.cfg.Node.ID); n != nil && n.Admitted {
			return m, nil
		}
		version = m.Version
	}
}

// Waiting returns what this node waits for before it takes part in a cluster, "" once
// it does.
func (g *Group) Waiting() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.waiting
}

// wait notes, and logs when it is new, what the node waits for.
func (g *Group) wait(format string, args ...any) {
	reason := fmt.Sprintf(format, args...)
	g.mu.Lock()
	news := g.waiting != reason
	g.waiting = reason
	g.mu.Unlock()
	if news && reason != "" {
		g.log.Info("waiting to take part in a cluster", "for", reason)
	}
}

// errEnded is what callers get once the group has ended.
var errEnded = errors.New("placement: closed")

func (g *Group) ended() error {
	if err := g.Err(); err != nil {
		return err
	}
	return errEnded
}

// publish makes m the newest map unless there is a newer one.
func (g *Group) publish(m *Map) {
	// Held while the map is written, so that the file never goes back to an older one; who
	// only looks does not wait for the disk.
	g.saving.Lock()
	defer g.saving.Unlock()
	now := g.Map()
	if now.Cluster != "" && m.Cluster != now.Cluster {
		g.log.Error("a node of another cluster answered", "cluster", m.Cluster, "ours", now.Cluster)
		return
	}
	newer := m.Version > now.Version
	if !newer {
		if m.Version <= g.saved {
			return
		}
		m = now
	}
	if hung := g.running(); hung != nil && hung.hang.is() {
		// It is stored when Raft goes on, which makes the same map.
	} else if err := g.save(m); err != nil {
		g.log.Error("the map cannot be stored; a start without other nodes would use an older one", "err", err)
	} else {
		g.saved = m.Version
	}
	if !newer {
		return
	}
	g.mu.Lock()
	g.m = m
	close(g.changed)
	g.changed = make(chan struct{})
	g.mu.Unlock()
	g.tellNodes()
}

func (g *Group) save(m *Map) error {
	data, err := EncodeMap(m)
	if err != nil {
		return err
	}
	g.cfg.Hold()
	return writeFile(filepath.Join(g.cfg.Dir, "map.json"), data)
}

// tellNodes tells the network which nodes there are. Those that are not admitted yet, and
// others for such a node, are none: the network would let them into everything.
func (g *Group) tellNodes() {
	g.mu.Lock()
	m, founders := g.m, g.founders
	g.mu.Unlock()
	if m.Cluster == "" {
		if founders == nil {
			return
		}
		nodes := make([]Node, 0, len(founders))
		for _, f := range founders {
			nodes = append(nodes, Node{ID: f.ID, Name: f.Name, Address: f.Address, Roles: f.Roles, Admitted: true})
		}
		g.cfg.Network.SetNodes(clusterOf(founders), nodes)
		return
	}
	var nodes []Node
	if own := m.Node(g.cfg.Node.ID); own == nil || own.Admitted {
		nodes = slices.DeleteFunc(slices.Clone(m.Nodes), func(n Node) bool { return !n.Admitted })
	}
	g.cfg.Network.SetNodes(m.Cluster, nodes)
}

// self returns this node as it wants to be known.
func (g *Group) self() Join {
	n := &g.cfg.Node
	return Join{ID: n.ID, Name: n.Name, Address: n.Address, Roles: n.Roles}
}

// sleep waits for d, and reports false if the group ends.
func (g *Group) sleep(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-g.ctx.Done():
		return false
	}
}

func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(data, v)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// writeFile replaces the file at path. A crash leaves either the old one or the new
// one, complete.
func writeFile(path string, data []byte) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
