package sharedlog

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// DefaultSegmentBytes is the default of Config.SegmentBytes.
	DefaultSegmentBytes = 8 << 20
	// minSegmentBytes is the least size of a segment.
	minSegmentBytes = 4 << 10
	// maxSegmentBytes bounds a segment: offsets in it have 32 bits, and the largest entry
	// may be added to it.
	maxSegmentBytes = 1 << 30
	// DefaultGather is the default of Config.Gather.
	DefaultGather = 200 * time.Microsecond
)

var (
	// ErrFailed answers what is asked of a log after a write or a sync of it has failed, and
	// what was being written then: whether that is stored is only known once the log has
	// been opened again.
	ErrFailed = errors.New("sharedlog: the node's log failed and waits to be opened again")
	// ErrClosed answers what is asked of a log that is closed, or of a group that was dropped.
	ErrClosed = errors.New("sharedlog: log is closed")
)

// A CorruptError reports a log whose files do not say what was written to them.
type CorruptError struct {
	Segment string // path of the file
	Offset  int64  // where in it
	Groups  []string
	Reason  string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("sharedlog: %s is corrupt at %d: %s; it holds entries of %s", e.Segment, e.Offset, e.Reason,
		cmp.Or(strings.Join(e.Groups, ", "), "no group"))
}

// A Config is the configuration of a log. Dir must be set.
type Config struct {
	Dir string // made if it is not there
	// SegmentBytes is the size of a segment, which is allocated ahead; default 8 MiB. An
	// entry that is larger has a larger one of its own.
	SegmentBytes int
	// Gather is how long a write waits at most for groups that are likely to write, too;
	// default 200 µs, -1: not at all.
	Gather time.Duration
	FS     FS // nil: OS
}

func (c Config) withDefaults() (Config, error) {
	if c.Dir == "" {
		return c, errors.New("sharedlog: Dir: must be set")
	}
	c.SegmentBytes = cmp.Or(c.SegmentBytes, DefaultSegmentBytes)
	if c.SegmentBytes < minSegmentBytes || c.SegmentBytes > maxSegmentBytes {
		return c, fmt.Errorf("sharedlog: SegmentBytes: %d is not within %d-%d", c.SegmentBytes, minSegmentBytes, maxSegmentBytes)
	}
	c.Gather = cmp.Or(c.Gather, DefaultGather)
	if c.FS == nil {
		c.FS = OS{}
	}
	return c, nil
}

// A User is told of what concerns one group. What it is told by must not block; nil: it is
// not told.
type User struct {
	// Failed is called once when the log has failed.
	Failed func(error)
	// Stale is called when the group should take a snapshot, since its oldest entries keep
	// files from being used again. If that does not help within a while, they are copied.
	Stale func()
}

// A Log is the log of all groups of a node. It is safe for concurrent use.
type Log struct {
	cfg  Config
	salt [8]byte

	wake  chan struct{} // has a value when something may have come for the writer
	ended chan struct{} // closed when the writer has ended

	naming sync.Mutex // held while a group is made or dropped

	requests sync.Pool

	// Owned by the writer.
	batch   batch
	synced  [2][]*Group // of the last two syncs, the newer first
	answers time.Time   // when the last sync was answered
	copying copying

	mu       sync.RWMutex
	pending  []*request // at most one of each goroutine that waits for it
	closing  bool
	err      error             // why the log failed
	groups   map[string]*Group // by name
	numbered map[uint32]*Group
	next     uint32     // number of the next group that is made
	segments []*segment // by number; the last one is written to
	users    map[*Group]User
}

// Open opens the log in cfg.Dir, and makes it if there is none. The error is a CorruptError
// if it does not hold what was stored.
func Open(cfg Config) (*Log, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	l := &Log{
		cfg: cfg, wake: make(chan struct{}, 1), ended: make(chan struct{}),
		groups: map[string]*Group{}, numbered: map[uint32]*Group{}, next: 1,
		users: map[*Group]User{},
	}
	if err := l.load(); err != nil {
		return nil, errors.Join(err, l.closeFiles())
	}
	go l.write()
	return l, nil
}

// Group returns the group with that name, and makes it if there is none. It is for one user
// at a time: who asks for it again takes it over.
func (l *Log) Group(name string, user User) (*Group, error) {
	if name == "" || len(name) > maxName {
		return nil, fmt.Errorf("sharedlog: name of a group: %q has %d bytes, want 1-%d", name, len(name), maxName)
	}
	l.naming.Lock()
	defer l.naming.Unlock()
	l.mu.RLock()
	g, count, number := l.groups[name], len(l.groups), l.next
	l.mu.RUnlock()
	if g == nil {
		if count >= maxGroups {
			return nil, fmt.Errorf("sharedlog: group %q: there are %d already", name, count)
		}
		g = &Group{log: l, name: name, number: number, values: map[string][]byte{}}
		if err := l.do(&record{kind: kindMake, name: name}, g); err != nil {
			return nil, fmt.Errorf("make group %q: %w", name, err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.unusable(); err != nil {
		return nil, err
	}
	l.users[g] = user
	return g, nil
}

// Has reports whether there is a group with that name.
func (l *Log) Has(name string) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.groups[name] != nil
}

// Groups returns the names of all groups, sorted.
func (l *Log) Groups() []string {
	l.mu.RLock()
	defer l.mu.RUnlock()
	var names []string
	for name := range l.groups {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Drop removes a group with all that it has stored. It does nothing if there is none.
func (l *Log) Drop(name string) error {
	l.naming.Lock()
	defer l.naming.Unlock()
	l.mu.RLock()
	g := l.groups[name]
	l.mu.RUnlock()
	if g == nil {
		return nil
	}
	return l.do(&record{kind: kindDrop}, g)
}

// Err returns why the log has failed, nil if it has not.
func (l *Log) Err() error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.err
}

// Close writes what waits to be written and closes the files.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closing {
		l.mu.Unlock()
		<-l.ended
		return nil
	}
	l.closing = true
	l.mu.Unlock()
	l.notify()
	<-l.ended
	return l.closeFiles()
}

func (l *Log) closeFiles() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, s := range l.segments {
		errs = append(errs, s.file.Close())
	}
	l.segments = nil
	return errors.Join(errs...)
}

// unusable returns why nothing can be written any more, nil if it can. l.mu is held.
func (l *Log) unusable() error {
	if l.err != nil {
		return fmt.Errorf("%w: %w", ErrFailed, l.err)
	}
	if l.closing {
		return ErrClosed
	}
	return nil
}

// fail refuses what is left of the requests that were taken, all that waits, and all that
// comes.
func (l *Log) fail(err error, left []*request) {
	l.mu.Lock()
	l.err = err
	refused := l.unusable()
	left, users := append(left, l.pending...), l.users
	l.pending, l.users = nil, map[*Group]User{}
	l.mu.Unlock()
	for _, r := range left {
		r.done <- refused
	}
	for _, u := range users {
		if u.Failed != nil {
			u.Failed(err)
		}
	}
}

// notify has the writer look at what there is.
func (l *Log) notify() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// states returns what a checkpoint is to say of the groups. l.mu is held.
func (l *Log) states() []groupState {
	var states []groupState
	for _, g := range l.numbered {
		states = append(states, groupState{g.number, g.name, g.bounds, g.values})
	}
	slices.SortFunc(states, func(a, b groupState) int { return cmp.Compare(a.number, b.number) })
	return states
}
