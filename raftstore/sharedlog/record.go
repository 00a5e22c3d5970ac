package sharedlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

const (
	entryHeader = 29
	// maxName bounds the name of a group, maxKey the key and maxValue the value of what
	// is set, in bytes; maxValues bounds the keys of a group.
	maxName   = 255
	maxKey    = 255
	maxValue  = 4 << 10
	maxValues = 16
	// maxGroups bounds the groups of a log.
	maxGroups = 1024
)

var errRecord = errors.New("checksums are right, content is not")

// A record is what a frame says, but for an entry's term and data.
type record struct {
	kind        kind
	group       uint32
	first, last uint64 // of an entry or a copy both are its index
	key         string
	value       []byte
	name        string
}

// appendEntry appends a frame with an entry.
func appendEntry(b []byte, k kind, group uint32, e *raft.Log) []byte {
	start := len(b)
	b = beginFrame(b)
	b = binary.LittleEndian.AppendUint64(b, e.Index)
	b = binary.LittleEndian.AppendUint64(b, e.Term)
	var at int64
	if !e.AppendedAt.IsZero() {
		at = e.AppendedAt.UnixNano()
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(at))
	b = append(b, byte(e.Type))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(e.Extensions)))
	b = append(b, e.Extensions...)
	b = append(b, e.Data...)
	return endFrame(b, start, k, group)
}

// decodeEntry decodes the payload of an entry. Data and extensions are parts of it.
func decodeEntry(p []byte, e *raft.Log) error {
	if len(p) < entryHeader {
		return errRecord
	}
	extensions := int(binary.LittleEndian.Uint32(p[25:]))
	if extensions > len(p)-entryHeader || extensions < 0 {
		return errRecord
	}
	*e = raft.Log{
		Index: binary.LittleEndian.Uint64(p), Term: binary.LittleEndian.Uint64(p[8:]), Type: raft.LogType(p[24]),
		Data: p[entryHeader+extensions:],
	}
	if extensions > 0 {
		e.Extensions = p[entryHeader : entryHeader+extensions : entryHeader+extensions]
	}
	if at := int64(binary.LittleEndian.Uint64(p[16:])); at != 0 {
		e.AppendedAt = time.Unix(0, at)
	}
	return nil
}

// appendRecord appends a frame with a record that is neither an entry nor a checkpoint.
func appendRecord(b []byte, r *record) []byte {
	start := len(b)
	b = beginFrame(b)
	switch r.kind {
	case kindDelete:
		b = binary.LittleEndian.AppendUint64(b, r.first)
		b = binary.LittleEndian.AppendUint64(b, r.last)
	case kindSet:
		b = append(b, byte(len(r.key)))
		b = append(b, r.key...)
		b = append(b, r.value...)
	case kindMake:
		b = append(b, r.name...)
	}
	return endFrame(b, start, r.kind, r.group)
}

// decodeRecord decodes what a frame says that is no checkpoint.
func decodeRecord(f *frame) (record, error) {
	r := record{kind: f.kind, group: f.group}
	p := f.payload
	switch f.kind {
	case kindEntry, kindCopy:
		var e raft.Log
		if err := decodeEntry(p, &e); err != nil {
			return r, err
		}
		r.first, r.last = e.Index, e.Index
	case kindDelete:
		if len(p) != 16 {
			return r, errRecord
		}
		r.first, r.last = binary.LittleEndian.Uint64(p), binary.LittleEndian.Uint64(p[8:])
	case kindSet:
		if len(p) < 1 {
			return r, errRecord
		}
		value := 1 + int(p[0])
		if len(p) < value || len(p)-value > maxValue {
			return r, errRecord
		}
		r.key, r.value = string(p[1:value]), p[value:]
	case kindMake:
		if len(p) == 0 || len(p) > maxName {
			return r, errRecord
		}
		r.name = string(p)
	case kindDrop, kindSeal:
		if len(p) != 0 {
			return r, errRecord
		}
	default:
		return r, errRecord
	}
	return r, nil
}

// bounds are the first and the last index of a group's entries, 0 if there are none.
type bounds struct{ first, last uint64 }

func (b bounds) empty() bool { return b.last == 0 }

// after returns the bounds after a record, or an error if it does not fit.
func (b bounds) after(r *record) (bounds, error) {
	switch r.kind {
	case kindEntry:
		switch {
		case r.first == 0:
			return b, errors.New("an entry has index 0")
		case b.empty():
			return bounds{r.first, r.first}, nil
		case r.first != b.last+1:
			return b, fmt.Errorf("entry %d cannot follow entry %d", r.first, b.last)
		}
		return bounds{b.first, r.first}, nil
	case kindCopy:
		if r.first < b.first || r.first > b.last {
			return b, fmt.Errorf("a copy of entry %d, which is not in %d to %d", r.first, b.first, b.last)
		}
	case kindDelete:
		switch {
		case b.empty() || r.last < b.first || r.first > b.last || r.first > r.last:
			return b, nil
		case r.first <= b.first && r.last >= b.last:
			return bounds{}, nil
		case r.first <= b.first:
			return bounds{r.last + 1, b.last}, nil
		case r.last >= b.last:
			return bounds{b.first, r.first - 1}, nil
		}
		return b, fmt.Errorf("entries %d to %d are at neither end of %d to %d", r.first, r.last, b.first, b.last)
	}
	return b, nil
}

// A groupState is what a checkpoint says of a group.
type groupState struct {
	number uint32
	name   string
	bounds bounds
	values map[string][]byte
}

// appendCheckpoint appends a frame with the states of all groups, sorted by number.
func appendCheckpoint(b []byte, next uint32, groups []groupState) []byte {
	start := len(b)
	b = beginFrame(b)
	b = binary.LittleEndian.AppendUint32(b, next)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(groups)))
	for i := range groups {
		g := &groups[i]
		b = binary.LittleEndian.AppendUint32(b, g.number)
		b = append(b, byte(len(g.name)))
		b = append(b, g.name...)
		b = binary.LittleEndian.AppendUint64(b, g.bounds.first)
		b = binary.LittleEndian.AppendUint64(b, g.bounds.last)
		b = append(b, byte(len(g.values)))
		for _, key := range slices.Sorted(maps.Keys(g.values)) {
			b = append(b, byte(len(key)))
			b = append(b, key...)
			b = binary.LittleEndian.AppendUint16(b, uint16(len(g.values[key])))
			b = append(b, g.values[key]...)
		}
	}
	return endFrame(b, start, kindCheckpoint, 0)
}

// A reader takes bytes from the front of b. Once there are too few, bad is set, and what
// it returns is zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.bad, r.b = true, nil
		return make([]byte, min(n, 8))
	}
	taken := r.b[:n]
	r.b = r.b[n:]
	return taken
}

func (r *reader) uint64() uint64 { return binary.LittleEndian.Uint64(r.take(8)) }
func (r *reader) uint32() uint32 { return binary.LittleEndian.Uint32(r.take(4)) }
func (r *reader) string() string { return string(r.take(int(r.take(1)[0]))) }

// decodeCheckpoint decodes the payload of a checkpoint.
func decodeCheckpoint(p []byte) (next uint32, groups []groupState, err error) {
	r := reader{b: p}
	next = r.uint32()
	count := r.uint32()
	if count > maxGroups {
		return 0, nil, errRecord
	}
	for range count {
		g := groupState{number: r.uint32(), name: r.string(), values: map[string][]byte{}}
		g.bounds = bounds{r.uint64(), r.uint64()}
		values := int(r.take(1)[0])
		for range values {
			key := r.string()
			g.values[key] = slices.Clone(r.take(int(binary.LittleEndian.Uint16(r.take(2)))))
		}
		if r.bad || g.number == 0 || g.number >= next || g.name == "" || len(groups) > 0 && g.number <= groups[len(groups)-1].number ||
			g.bounds.first > g.bounds.last || (g.bounds.first == 0) != (g.bounds.last == 0) {
			return 0, nil, errRecord
		}
		groups = append(groups, g)
	}
	if r.bad || len(r.b) > 0 {
		return 0, nil, errRecord
	}
	return next, groups, nil
}
