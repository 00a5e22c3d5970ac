package placement

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/belfry-im/belfry/shard/command"
)

// A world is nodes with their folders, and the network between them. It is to be used
// in a bubble.
type world struct {
	t   *testing.T
	dir string

	mu    sync.Mutex
	up    map[string]*endpoint // by address
	cut   map[[2]string]bool   // pairs of addresses that do not reach each other
	disks map[string]*disk     // by folder
}

// A disk is what Raft keeps in a folder.
type disk struct {
	store     *raft.InmemStore
	snapshots raft.SnapshotStore

	mu      sync.Mutex
	resumed chan struct{} // closed when appends go on; nil: they do not hang
}

// hang has appends wait until resume is called.
func (d *disk) hang() (resume func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	resumed := make(chan struct{})
	d.resumed = resumed
	return sync.OnceFunc(func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		close(resumed)
		d.resumed = nil
	})
}

// A diskLog is the log on a disk.
type diskLog struct {
	*raft.InmemStore
	disk *disk
}

func (l diskLog) StoreLogs(entries []*raft.Log) error {
	l.disk.mu.Lock()
	resumed := l.disk.resumed
	l.disk.mu.Unlock()
	if resumed != nil {
		<-resumed
	}
	return l.InmemStore.StoreLogs(entries)
}

// An endpoint is the Network of one process.
type endpoint struct {
	w       *world
	id      NodeID
	address string

	// guarded by w.mu
	handle    func(context.Context, string, []byte) ([]byte, error)
	nodes     map[NodeID]string
	cluster   string
	transport *raft.InmemTransport
}

func newWorld(t *testing.T) *world {
	return &world{
		t: t, dir: t.TempDir(),
		up: map[string]*endpoint{}, cut: map[[2]string]bool{}, disks: map[string]*disk{},
	}
}

func (e *endpoint) Serve(handle func(context.Context, string, []byte) ([]byte, error)) {
	e.w.mu.Lock()
	defer e.w.mu.Unlock()
	e.handle = handle
}

var errUnreached = errors.New("not reached")

func (e *endpoint) CallAddress(ctx context.Context, address, method string, request []byte) ([]byte, error) {
	e.w.mu.Lock()
	var handle func(context.Context, string, []byte) ([]byte, error)
	if other := e.w.up[address]; other != nil {
		handle = other.handle
	}
	cut := e.w.cut[[2]string{e.address, address}]
	e.w.mu.Unlock()
	if handle == nil {
		return nil, errUnreached
	}
	if cut {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return handle(withCaller(ctx, e.id), method, request)
}

func (e *endpoint) Call(ctx context.Context, node NodeID, method string, request []byte) ([]byte, error) {
	e.w.mu.Lock()
	address := e.nodes[node]
	other := e.w.up[address]
	e.w.mu.Unlock()
	if address == "" || other != nil && other.id != node { // a link refuses whoever is there instead
		return nil, errUnreached
	}
	return e.CallAddress(ctx, address, method, request)
}

func (e *endpoint) SetNodes(cluster string, nodes []Node) {
	e.w.mu.Lock()
	defer e.w.mu.Unlock()
	e.cluster, e.nodes = cluster, map[NodeID]string{}
	for _, n := range nodes {
		e.nodes[n.ID] = n.Address
	}
}

func (e *endpoint) Transport(local NodeID) (raft.Transport, error) {
	_, t := raft.NewInmemTransportWithTimeout(raft.ServerAddress(local), 500*time.Millisecond)
	e.w.mu.Lock()
	open := e.transport != nil
	if !open {
		e.transport = t
	}
	e.w.mu.Unlock()
	if open { // as a link says it
		return nil, errors.New("there is a transport already")
	}
	e.w.connect()
	return &endpointTransport{InmemTransport: t, e: e}, nil
}

// An endpointTransport is the only one of its endpoint until it is closed.
type endpointTransport struct {
	*raft.InmemTransport
	e *endpoint
}

func (*endpointTransport) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported // as with a link
}

func (t *endpointTransport) Close() error {
	t.e.w.mu.Lock()
	t.e.transport = nil
	t.e.w.mu.Unlock()
	return t.InmemTransport.Close()
}

// connect connects the transports of all pairs that are not cut.
func (w *world) connect() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for a, from := range w.up {
		for b, to := range w.up {
			if a == b || from.transport == nil || to.transport == nil {
				continue
			}
			if w.cut[[2]string{a, b}] {
				from.transport.Disconnect(raft.ServerAddress(to.id))
			} else {
				from.transport.Connect(raft.ServerAddress(to.id), to.transport)
			}
		}
	}
}

// separate cuts the nodes at these addresses off from all others.
func (w *world) separate(addresses ...string) {
	w.mu.Lock()
	for i := range 9 {
		for k := range 9 {
			a, b := addr(i), addr(k)
			w.cut[[2]string{a, b}] = slices.Contains(addresses, a) != slices.Contains(addresses, b)
		}
	}
	w.mu.Unlock()
	w.connect()
}

func (w *world) heal() { w.separate() }

func addr(i int) string { return fmt.Sprintf("host-%d:7946", i) }

// A process is a Group that runs.
type process struct {
	*Group
	w        *world
	endpoint *endpoint
}

// config returns the flags of node i out of n founders, in a folder of that name.
func (w *world) config(i, n int) GroupConfig {
	name := string(rune('a' + i))
	cfg := GroupConfig{
		Dir:  filepath.Join(w.dir, name),
		Node: Node{ID: NodeID("uuid-" + name), Name: name, Address: addr(i), Roles: RoleGateway | RoleStore},
		Seed: Seed{Shards: 4, Config: Config{Limits: command.Limits{Recents: 7}, HookBytes: 100}},
	}
	if i < n {
		cfg.Expect = n
	}
	for k := range n {
		cfg.Join = append(cfg.Join, addr(k))
	}
	return cfg
}

func (w *world) open(cfg GroupConfig) (*process, error) {
	w.mu.Lock()
	if w.disks[cfg.Dir] == nil {
		w.disks[cfg.Dir] = &disk{store: raft.NewInmemStore(), snapshots: raft.NewInmemSnapshotStore()}
	}
	d := w.disks[cfg.Dir]
	e := &endpoint{w: w, id: cfg.Node.ID, address: cfg.Node.Address}
	if w.up[e.address] != nil {
		w.t.Errorf("two processes at %s", e.address)
	}
	w.up[e.address] = e
	w.mu.Unlock()
	cfg.Network = e
	cfg.stores = func() (stores, error) {
		return stores{
			log: diskLog{d.store, d}, stable: d.store, snapshots: d.snapshots,
			close: func() error { return nil }, release: func() {},
		}, nil
	}
	g, err := Open(cfg)
	if err != nil {
		w.mu.Lock()
		delete(w.up, e.address)
		w.mu.Unlock()
		return nil, err
	}
	p := &process{Group: g, w: w, endpoint: e}
	w.t.Cleanup(p.stop)
	return p, nil
}

func (w *world) run(cfg GroupConfig) *process {
	w.t.Helper()
	p, err := w.open(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func (p *process) stop() {
	p.w.mu.Lock()
	if p.w.up[p.endpoint.address] != p.endpoint {
		p.w.mu.Unlock()
		return // it was stopped before
	}
	delete(p.w.up, p.endpoint.address)
	for _, other := range p.w.up {
		if other.transport != nil {
			other.transport.Disconnect(raft.ServerAddress(p.endpoint.id))
		}
	}
	p.w.mu.Unlock()
	if err := p.Close(); err != nil {
		p.w.t.Error(err)
	}
}

// wait waits until p takes part in a cluster.
func (p *process) wait() *Map {
	p.w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	m, err := p.Wait(ctx)
	if err != nil {
		p.w.t.Fatalf("%s takes no part: %v; waits for %q", p.cfg.Node.Name, err, p.Waiting())
	}
	return m
}

// eventually waits until what is true.
func (w *world) eventually(what string, is func() bool) {
	w.t.Helper()
	for range 600 {
		if is() {
			return
		}
		time.Sleep(time.Second)
		synctest.Wait()
	}
	w.t.Fatalf("never: %s", what)
}

// propose makes a change within a generous time.
func (p *process) propose(c Command) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err := p.Propose(ctx, c)
	return err
}
