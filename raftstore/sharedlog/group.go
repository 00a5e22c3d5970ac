package sharedlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/hashicorp/raft"
)

// A Group is the part of a log that is one Raft group's: its entries, and what it sets, as
// its term and vote. Entries follow each other without gaps.
type Group struct {
	log    *Log
	name   string
	number uint32

	staged bounds // with what is in the batch; owned by the writer
	keys   int    // number of values with those in the batch; owned by the writer
	gone   bool   // dropped, at the latest by what is in the batch; owned by the writer

	// Guarded by log.mu; changed by the writer alone.
	bounds  bounds
	at      []position // of the entries
	values  map[string][]byte
	dropped bool
	waits   int    // requests in log.pending
	asked   uint32 // number of the newest segment when the group was asked for a snapshot; 0: it was not
}

// A position is where an entry is: the number of its segment, then its offset in it.
type position uint64

func newPosition(segment uint32, offset int64) position {
	return position(segment)<<32 | position(uint32(offset))
}

func (p position) segment() uint32 { return uint32(p >> 32) }
func (p position) offset() int64   { return int64(uint32(p)) }

// Name returns the name of the group.
func (g *Group) Name() string { return g.name }

// IsMonotonic is how Raft learns that entries may not leave gaps.
func (g *Group) IsMonotonic() bool { return true }

// Close gives the group up. The log goes on.
func (g *Group) Close() error {
	g.log.mu.Lock()
	defer g.log.mu.Unlock()
	delete(g.log.users, g)
	return nil
}

// FirstIndex returns the index of the first entry, 0 if there is none.
func (g *Group) FirstIndex() (uint64, error) {
	b, err := g.has()
	return b.first, err
}

// LastIndex returns the index of the last entry, 0 if there is none.
func (g *Group) LastIndex() (uint64, error) {
	b, err := g.has()
	return b.last, err
}

func (g *Group) has() (bounds, error) {
	g.log.mu.RLock()
	defer g.log.mu.RUnlock()
	if g.dropped {
		return bounds{}, ErrClosed
	}
	return g.bounds, nil
}

// readAhead is how much of an entry is read with its header.
const readAhead = 4 << 10

// GetLog reads an entry. The error is raft.ErrLogNotFound if there is none with that index,
// and a CorruptError if the file does not have what was written to it.
func (g *Group) GetLog(index uint64, entry *raft.Log) error {
	for {
		at, s, err := g.find(index)
		if err != nil {
			return err
		}
		data, err := s.read(at.offset())
		if err == nil {
			var read raft.Log
			err = decodeEntry(data.payload, &read)
			if err == nil && (data.group != g.number || read.Index != index) {
				err = errRecord
			}
			if err == nil {
				*entry = read
				return nil
			}
		}
		// The segment may have been used again, or closed, meanwhile: then the entry is
		// somewhere else, or gone.
		if now, same, gone := g.find(index); gone != nil || now != at || same != s {
			continue
		}
		return &CorruptError{Segment: s.path(), Offset: at.offset(), Groups: []string{g.name}, Reason: fmt.Sprintf("read entry %d: %v", index, err)}
	}
}

// find returns where an entry is.
func (g *Group) find(index uint64) (position, *segment, error) {
	l := g.log
	l.mu.RLock()
	defer l.mu.RUnlock()
	if g.dropped || l.closing {
		return 0, nil, ErrClosed
	}
	if g.bounds.empty() || index < g.bounds.first || index > g.bounds.last {
		return 0, nil, raft.ErrLogNotFound
	}
	at := g.at[index-g.bounds.first]
	return at, l.segment(at.segment()), nil
}

// StoreLog is StoreLogs of one entry.
func (g *Group) StoreLog(entry *raft.Log) error { return g.StoreLogs([]*raft.Log{entry}) }

// StoreLogs appends entries, and returns when they are on the disk. After ErrFailed those
// from the first on may be stored, up to any.
func (g *Group) StoreLogs(entries []*raft.Log) error {
	if len(entries) == 0 {
		return nil
	}
	r := g.log.newRequest(g)
	defer g.log.release(r)
	for _, e := range entries {
		if size := len(e.Data) + len(e.Extensions); size > MaxEntryBytes {
			return fmt.Errorf("sharedlog: entry %d has %d bytes, at most %d are allowed", e.Index, size, MaxEntryBytes)
		}
		start := len(r.frames)
		r.frames = appendEntry(r.frames, kindEntry, g.number, e)
		r.add(record{kind: kindEntry, group: g.number, first: e.Index, last: e.Index}, start)
	}
	return g.log.submit(r)
}

// DeleteRange removes the entries from first to last, which have to be at one end of those
// that there are, and returns when that is on the disk. Other indices are ignored.
func (g *Group) DeleteRange(first, last uint64) error {
	return g.log.do(&record{kind: kindDelete, first: first, last: last}, g)
}

// Set stores a value of at most 4 KiB under a key, and returns when it is on the disk.
func (g *Group) Set(key, value []byte) error {
	if len(key) > maxKey || len(value) > maxValue {
		return fmt.Errorf("sharedlog: set %q: key has %d bytes and value %d, at most %d and %d are allowed", key[:min(len(key), 20)], len(key), len(value), maxKey, maxValue)
	}
	return g.log.do(&record{kind: kindSet, key: string(key), value: slices.Clone(value)}, g)
}

// Get returns the value of a key, nil if there is none.
func (g *Group) Get(key []byte) ([]byte, error) {
	g.log.mu.RLock()
	defer g.log.mu.RUnlock()
	if g.dropped {
		return nil, ErrClosed
	}
	return slices.Clone(g.values[string(key)]), nil
}

// SetUint64 is Set of a number.
func (g *Group) SetUint64(key []byte, value uint64) error {
	return g.Set(key, binary.BigEndian.AppendUint64(nil, value))
}

// GetUint64 returns the number under a key, 0 if there is none.
func (g *Group) GetUint64(key []byte) (uint64, error) {
	value, err := g.Get(key)
	if err != nil || len(value) == 0 {
		return 0, err
	}
	if len(value) != 8 {
		return 0, fmt.Errorf("sharedlog: %q of group %s is no number", key, g.name)
	}
	return binary.BigEndian.Uint64(value), nil
}

// apply makes a record, which is on the disk at that position, part of what the log says.
// log.mu is held, or the log is being opened.
func (l *Log) apply(g *Group, r *record, at position) error {
	before := g.bounds
	after, err := before.after(r)
	if err != nil {
		return err
	}
	switch r.kind {
	case kindEntry:
		g.at = append(g.at, at)
		l.lives(at, 1)
	case kindCopy:
		old := &g.at[r.first-before.first]
		l.lives(*old, -1)
		l.lives(at, 1)
		*old = at
	case kindDelete:
		if after == before {
			break
		}
		from, to := 0, len(g.at)
		if !after.empty() {
			from, to = int(after.first-before.first), int(after.last-before.first)+1
		}
		for _, p := range g.at[:from] {
			l.lives(p, -1)
		}
		for _, p := range g.at[to:] {
			l.lives(p, -1)
		}
		if after.empty() {
			for _, p := range g.at {
				l.lives(p, -1)
			}
			g.at = nil
		} else if g.at = g.at[from:to]; from > len(g.at) {
			g.at = slices.Clone(g.at) // lets go of the memory before
		}
	case kindSet:
		g.values[r.key] = r.value
	case kindMake:
		l.groups[g.name], l.numbered[g.number] = g, g
		l.next = max(l.next, g.number+1)
	case kindDrop:
		for _, p := range g.at {
			l.lives(p, -1)
		}
		g.at, g.dropped = nil, true
		delete(l.groups, g.name)
		delete(l.numbered, g.number)
		delete(l.users, g)
		after = bounds{}
	}
	g.bounds = after
	return nil
}

// errEnd is the error of a read behind the end of a file.
var errEnd = errors.Join(errFrame, io.ErrUnexpectedEOF)
