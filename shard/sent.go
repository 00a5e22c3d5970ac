package shard

import "github.com/cespare/xxhash/v2"

// A sentWindow remembers what a user sent within the dedupe window, so that a
// repeat gets the first answer even when the message itself is gone. Records
// lie in the order of their times.
type sentWindow struct {
	records []sentRecord
	base    uint32             // position of records[0] since the beginning
	index   map[sentKey]uint32 // position of the record, kept once there are many
}

// indexedSent is the number of records from which a map beats a walk.
const indexedSent = 16

// A sentKey names a send within its user. A user who makes two of his cids
// collide harms nobody else.
type sentKey struct {
	conv uint32
	cid  uint64 // xxhash64
}

type sentRecord struct {
	key  sentKey
	body uint64 // xxhash64
	id   MsgID
	seq  uint64
	time int64 // as answered
	at   int64 // when it was sent: what the window is measured from
}

func newSentKey(conv int, cid string) sentKey {
	return sentKey{conv: uint32(conv), cid: xxhash.Sum64String(cid)}
}

// find returns the record of a key, nil when there is none.
func (w *sentWindow) find(key sentKey) *sentRecord {
	if w.index != nil {
		if pos, ok := w.index[key]; ok {
			return &w.records[pos-w.base]
		}
		return nil
	}
	for i := len(w.records) - 1; i >= 0; i-- {
		if w.records[i].key == key {
			return &w.records[i]
		}
	}
	return nil
}

func (w *sentWindow) add(r sentRecord) {
	pos := w.base + uint32(len(w.records))
	w.records = append(w.records, r)
	switch {
	case w.index != nil:
		w.index[r.key] = pos
	case len(w.records) == indexedSent:
		w.index = make(map[sentKey]uint32, 2*indexedSent)
		for i := range w.records {
			w.index[w.records[i].key] = w.base + uint32(i)
		}
	}
}

// forget drops the records sent at or before a time and returns their number.
func (w *sentWindow) forget(cutoff int64) int {
	n := 0
	for n < len(w.records) && w.records[n].at <= cutoff {
		// A key that was sent again after its window has a younger record.
		if pos, ok := w.index[w.records[n].key]; ok && pos == w.base+uint32(n) {
			delete(w.index, w.records[n].key)
		}
		n++
	}
	switch {
	case n == 0:
	case n == len(w.records):
		*w = sentWindow{}
	default:
		w.records = w.records[n:]
		w.base += uint32(n)
		if cap(w.records)-len(w.records) < len(w.records)/4 {
			// Let go of the array whose front is empty: append would keep
			// copying into a new one anyway.
			w.records = append(make([]sentRecord, 0, len(w.records)+len(w.records)/2), w.records...)
		}
	}
	return n
}
