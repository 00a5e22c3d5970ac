package raftstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/belfry-im/belfry/raftstore/peer"
	"github.com/belfry-im/belfry/raftstore/placement"
	"github.com/belfry-im/belfry/raftstore/replica"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/ring"
	"github.com/prometheus/client_golang/prometheus"
)

// The kinds of Raft log that Config.RaftLog names.
const (
	RaftLogWAL    = replica.LogWAL
	RaftLogBolt   = replica.LogBolt
	RaftLogShared = replica.LogShared
)

const (
	// maxShards bounds the shards of one node: each costs timers and open files.
	maxShards = 64
	// newShards is the number of shards of a new data directory. Each has a
	// stream of fsyncs of its own, and they share the disk.
	newShards = 1
	// defaultHookBytes is the default of Config.HookBytes.
	defaultHookBytes = 16 << 20
)

// Config is the configuration of a Store. Zero fields have their defaults; Dir must
// be set.
type Config struct {
	// Dir holds the data. It is created when it is not there, and locked.
	Dir string
	// Data is Dir, if it has been opened already: the store closes it. nil: Open opens it.
	Data *DataDir
	// Node names this node; default "node". It cannot change, except in a cluster.
	Node string
	// Shards is the number of shards, default as many as Dir has, or newShards. It
	// cannot change.
	Shards int
	// RaftLog is RaftLogWAL (default), RaftLogBolt or RaftLogShared. It cannot change.
	RaftLog string
	// Limits of every shard; zero fields are their defaults.
	Limits command.Limits

	// OutboxBytes bounds the letters that wait for one shard, default 64 MiB. Past
	// that, commands that would write another one get ErrUnavailable.
	OutboxBytes int
	// QueueBytes bounds the commands of one shard that wait to be proposed, default 16
	// MiB. Past that, further ones get ErrUnavailable.
	QueueBytes int
	// SnapshotBytes is the least growth of the log between two snapshots, default 64
	// MiB. Under a larger state the log may grow by the state's size, unless its
	// replay would take more than some seconds.
	SnapshotBytes int64
	// SegmentBytes is the size of a file of the log, which is allocated ahead; default 8
	// MiB.
	SegmentBytes int
	// DiskReserve is the free space below which sends get ErrUnavailable,
	// default 1 GiB; -1 switches that off.
	DiskReserve int64

	// MemoryLimit bounds the memory of the process, in bytes; 0 is no limit. Above
	// three quarters of it the oldest messages are evicted before their time, and if
	// that does not help, sends get ErrUnavailable. Garbage does not count: the caller
	// has to pass no more than this limit to debug.SetMemoryLimit.
	MemoryLimit int64
	// ReservedMemory is the part of MemoryLimit that is set aside for everything but
	// the store's state, above all for connections. Messages have the rest, however
	// much of the reserve is in use. The caller has to keep the memory of everything
	// else within the reserve. 0: nothing is set aside, and messages have what
	// everything else leaves.
	ReservedMemory int64

	// ClockSettle is how long a jump of the wall clock must stand before the store
	// follows it, default 10 min.
	ClockSettle time.Duration
	// ExpireEvery is how long one sweep over all slots takes, default 60 s. It frees
	// the memory of what has expired, which is hidden already.
	ExpireEvery time.Duration
	// ChecksumEvery is how long a round takes in which the replicas of a shard compute
	// checksums of all of their state, to compare; default 5 min, and longer for a state
	// of more than 1 GiB. One node alone computes none.
	ChecksumEvery time.Duration
	// LoginRate is how many logins a second a user may make at all nodes of a cluster
	// together, and LoginBurst how many at once: their shard's leader counts them. 0: no
	// limit. One node alone does not count them.
	LoginRate, LoginBurst int
	// ClaimWithin is how long a session may be without watcher before it is logged
	// out, default 30 s. In a cluster it is counted by each leader, see orphans.
	ClaimWithin time.Duration
	// Hooks are told of messages for users who are away, and of other events; nil for
	// none.
	Hooks store.Hooks
	// QueuedAfter is how long a message waits for the ack of a session in the
	// foreground before Hooks are told of it, default 10 s.
	QueuedAfter time.Duration
	// HookBytes bounds the references to messages of one shard that wait for Hooks,
	// default 16 MiB for some 400,000 messages. Past that the oldest are dropped.
	HookBytes int

	// ElectionTimeout is how long a replica waits to hear of its leader before it stands for
	// election, and a leader for the others before it gives up; default 400 ms. It should be
	// alike on all nodes, and many times the round trip between them. One node alone
	// ignores it.
	ElectionTimeout time.Duration
	// Cluster makes this node one of several; nil: it is alone. With a cluster, Shards,
	// Limits and HookBytes are those of the map.
	Cluster *Cluster

	// Clock reads the wall clock and a clock that never jumps, both at one
	// moment. nil: those of the system. It is for tests.
	Clock func() (wall time.Time, mono time.Duration)

	Log        *slog.Logger          // nil discards
	Registerer prometheus.Registerer // nil: metrics are kept and not registered

	walFS replica.VFS          // nil: the file system
	meter func() memoryReading // nil: the runtime's
	// These replace the constants of their names unless they are 0.
	expectPatience, leaderPatience time.Duration
	// arenaBytes is what one shard can hold, default ring.MaxBytes. As under
	// MemoryLimit, retention shortens and sends are refused before it is reached.
	arenaBytes int64
	collect    func() // collects garbage, and gives free memory back to the system; nil: the runtime's
	// memoryOf wraps the memory of a replica that the budget reads; nil for none.
	memoryOf func(shardMemory) shardMemory
}

// Hold waits while the disk of Dir hangs, which only one for tests can be told to. It is
// called before something is written to Dir beside what a store writes.
func (c *Config) Hold() { replica.Hold(c.walFS) }

// withDefaults fills in zero fields, and returns an error for invalid ones.
func (c Config) withDefaults() (Config, error) {
	if c.Dir == "" {
		return c, errors.New("raftstore: Dir: must be set")
	}
	if c.Node == "" {
		c.Node = "node"
	}
	if c.Shards < 0 || c.Shards > maxShards {
		return c, fmt.Errorf("raftstore: Shards: %d is not within 1-%d", c.Shards, maxShards)
	}
	if c.RaftLog == "" {
		c.RaftLog = RaftLogWAL
	}
	if kinds := []string{RaftLogWAL, RaftLogBolt, RaftLogShared}; !slices.Contains(kinds, c.RaftLog) {
		return c, fmt.Errorf("raftstore: RaftLog: %q is none of %s", c.RaftLog, strings.Join(kinds, ", "))
	}
	c.Limits = c.Limits.WithDefaults()
	if err := setDefault("OutboxBytes", &c.OutboxBytes, 64<<20); err != nil {
		return c, err
	}
	if err := setDefault("QueueBytes", &c.QueueBytes, 16<<20); err != nil {
		return c, err
	}
	if err := setDefault("SnapshotBytes", &c.SnapshotBytes, 64<<20); err != nil {
		return c, err
	}
	if err := setDefault("SegmentBytes", &c.SegmentBytes, replica.DefaultSegmentBytes); err != nil {
		return c, err
	}
	if c.DiskReserve == 0 {
		c.DiskReserve = 1 << 30
	}
	if c.MemoryLimit < 0 {
		return c, fmt.Errorf("raftstore: MemoryLimit: %d is negative", c.MemoryLimit)
	}
	if c.ReservedMemory < 0 || c.ReservedMemory > 0 && c.ReservedMemory >= percentOf(c.MemoryLimit, softPercent) {
		return c, fmt.Errorf("raftstore: ReservedMemory: %d, want at least 0 and less than %d %% of MemoryLimit", c.ReservedMemory, softPercent)
	}
	if c.arenaBytes == 0 {
		c.arenaBytes = ring.MaxBytes
	}
	c.expectPatience = cmp.Or(c.expectPatience, expectPatience)
	c.leaderPatience = cmp.Or(c.leaderPatience, leaderPatience)
	if c.meter == nil {
		c.meter = readMemory
	}
	if c.memoryOf == nil {
		c.memoryOf = func(m shardMemory) shardMemory { return m }
	}
	if c.collect == nil {
		c.collect = debug.FreeOSMemory
	}
	if err := setDefault("ClockSettle", &c.ClockSettle, 10*time.Minute); err != nil {
		return c, err
	}
	if err := setDefault("ExpireEvery", &c.ExpireEvery, time.Minute); err != nil {
		return c, err
	}
	if err := setDefault("ClaimWithin", &c.ClaimWithin, 30*time.Second); err != nil {
		return c, err
	}
	if c.ClaimWithin < 10*time.Millisecond {
		return c, fmt.Errorf("raftstore: ClaimWithin: %v is below 10ms", c.ClaimWithin)
	}
	if err := setDefault("QueuedAfter", &c.QueuedAfter, 10*time.Second); err != nil {
		return c, err
	}
	if err := setDefault("HookBytes", &c.HookBytes, defaultHookBytes); err != nil {
		return c, err
	}
	if c.ElectionTimeout < 0 || c.ElectionTimeout > 0 && c.ElectionTimeout < 10*time.Millisecond {
		return c, fmt.Errorf("raftstore: ElectionTimeout: %v, want 0 or at least 10ms", c.ElectionTimeout)
	}
	if c.HookBytes > math.MaxInt32 {
		return c, fmt.Errorf("raftstore: HookBytes: %d is above 2 GiB", c.HookBytes)
	}
	if c.Clock == nil {
		c.Clock = replica.SystemClock()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

func setDefault[T int | int64 | time.Duration](name string, field *T, value T) error {
	if *field == 0 {
		*field = value
	}
	if *field < 0 {
		return fmt.Errorf("raftstore: %s: %v is negative", name, *field)
	}
	return nil
}

// A Store is the shards of this node. Its methods may be called from any
// goroutine; they fail with ErrUnavailable once Close has begun.
type Store struct {
	storeReader // for callers without a place
	cfg         Config
	metrics     *metrics
	clock       *replica.Clock
	owners      atomic.Pointer[owners]
	hub         *hub
	liveRate    *keyRate[command.GroupID]
	openings    *keyRate[command.UserID] // messages of ttl 0 to strangers, by sender
	transient   *transientDedup
	// reservations and loginRate are of users whose shards are led here.
	reservations store.Reservations
	loginRate    *keyRate[command.UserID] // counts nothing without a cluster
	deferred     *deferred
	cluster      *cluster   // nil: this node is alone
	reads        readQueue  // for other nodes
	publishing   sync.Mutex // held while the status is set
	budget       *budget
	data         *DataDir

	diskLow    atomic.Bool
	memoryFull atomic.Bool
	importing  chan struct{} // holds a value while an import runs

	mapping  sync.Mutex    // held while a map is taken over
	cleaned  bool          // removeLeftovers has run; guarded by mapping
	replicas []*localShard // of this node; guarded by mapping
	// filesMade has the IDs of replicas whose files were made and which are not open yet;
	// guarded by mapping.
	filesMade map[string]bool

	// The shards are stopped before the rest, which answers for them while they drain.
	shardsCtx            context.Context
	stopShards, stopRest context.CancelFunc
	shardRuns, restRuns  sync.WaitGroup
	closeOnce            sync.Once
	closeErr             error
}

// Open opens the store in cfg.Dir. It returns once every shard serves, has stopped,
// or waits for room on a full disk: see Ready. If the directory or a log cannot be
// opened, it closes everything again and returns the error.
func Open(cfg Config) (*Store, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	m, err := newMetrics(cfg.Registerer)
	if err != nil {
		return nil, err
	}
	data := cfg.Data
	if data == nil {
		data, err = openDataDir(&cfg, cfg.Cluster != nil)
	}
	if err != nil {
		m.unregister()
		return nil, err
	}
	cfg.Data = data
	s := &Store{
		cfg: cfg, metrics: m, data: data,
		clock:     replica.NewClock(cfg.Clock, cfg.ClockSettle),
		importing: make(chan struct{}, 1),
	}
	s.storeReader.store = s
	presence := newPresence()
	s.hub = newHub(presence, m.watchers, s.Now)
	s.connectHooks()
	s.liveRate = newKeyRate[command.GroupID](cfg.Limits.GroupRate, cfg.Limits.GroupBurst, time.Second)
	s.openings = newKeyRate[command.UserID](cfg.Limits.NewConversations, cfg.Limits.NewConversations, time.Hour)
	s.transient = newTransientDedup(cfg.Limits.DedupWindow)
	s.loginRate = new(keyRate[command.UserID])
	if cfg.Cluster != nil {
		s.loginRate = newKeyRate[command.UserID](cfg.LoginRate, cfg.LoginBurst, time.Second)
	}
	s.deferred = newDeferred(s.submit)
	s.cluster = newCluster(cfg.Cluster)
	s.checkDisk()

	rest, stopRest := context.WithCancel(context.Background())
	shards, stopShards := context.WithCancel(context.Background())
	s.stopRest, s.stopShards, s.shardsCtx = stopRest, stopShards, shards
	s.restRuns.Go(func() { s.deferred.run(rest) })
	s.restRuns.Go(func() { presence.run(rest, s) })
	s.restRuns.Go(func() { s.watchDisk(rest) })
	s.budget = newBudget(s)
	if s.cluster != nil {
		peer.Register(s.cluster.Link.Server(), s, func(ctx context.Context) (string, error) {
			node, err := s.cluster.Link.Caller(ctx)
			return string(node), err
		})
		s.openWatch()
		err = s.SetMap(s.cluster.m)
		s.publish() // what the others know may be of the process before, which was drained
		s.cluster.background.Go(s.watchChecksums)
		s.cluster.background.Go(func() { s.spread(s.cluster.ctx) })
		s.cluster.background.Go(func() { s.cluster.heart.run(s.cluster.ctx, s.thawed) })
	} else {
		err = s.openSolo()
	}
	s.restRuns.Go(func() { s.budget.run(rest) })
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	m.seen.store.Store(s)
	return s, nil
}

// openSolo opens the shards of a node without a cluster, and returns when each serves,
// has stopped, or waits for room.
func (s *Store) openSolo() error {
	cfg := &s.cfg
	node := placement.Node{ID: s.data.Node(), Name: cfg.Node}
	conf := &s.data.info.Configuration
	m := placement.Solo(node, conf.Epoch, placement.Config{Version: conf.Version, Limits: conf.Limits, HookBytes: conf.HookBytes}, cfg.Shards)
	s.setMap(m)
	for i, sh := range s.shards() {
		here := newLocalShard(sh, &m.Shards[i], &m.Shards[i].Replicas[0])
		sh.replicated.Store(here)
		s.replicas = append(s.replicas, here)
		s.shardRuns.Go(func() { here.local.Run(s.shardsCtx) })
	}
	s.budget.setReplicas(s.replicas)
	var errs []error
	for _, sh := range s.replicas {
		errs = append(errs, sh.local.Opened())
	}
	return errors.Join(errs...)
}

// Close commits the commands that were accepted unless the log fails, answers all
// callers and closes the files. It leaves no goroutine behind.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		s.mapping.Lock() // no replica is opened any more
		s.stopShards()
		s.mapping.Unlock()
		s.shardRuns.Wait()
		s.reads.close()
		if s.cluster != nil {
			s.cluster.close()
			for _, sh := range s.shards() {
				sh.line.close()
			}
		}
		s.stopRest()
		s.restRuns.Wait()
		s.metrics.unregister()
		s.closeErr = s.data.Close()
	})
	return s.closeErr
}

// Ready returns nil if every shard of this node serves or, in a cluster, if every shard
// has a leader that this node reaches.
func (s *Store) Ready() error {
	if c := s.cluster; c != nil {
		if c.Waits != nil {
			if waits := c.Waits(); waits != "" {
				return store.Unavailable(store.DefaultRetryAfter, "this node waits for "+waits)
			}
		}
		return s.reachable()
	}
	var errs []error
	for _, sh := range s.shards() {
		errs = append(errs, sh.here().replica.Ready())
	}
	return errors.Join(errs...)
}

// Now returns the store's time, ms. A shard that has applied a later time goes on
// from that one.
func (s *Store) Now() int64 { return s.clock.Now() }
