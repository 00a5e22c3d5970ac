package shard

// A table finds a value by its hash. Values are indexes or places of things that the
// caller holds; the caller computes their hashes and compares. It is an open-addressing
// hash table with linear probing, without pointers and at most three quarters full. Its
// caller must use hashes that users cannot make collide.
type table struct {
	slots []uint32 // 1 + value, 0 = free; the length is a power of two
	n     int      // number of values
}

// minTable is the length of the smallest table; a power of two.
const minTable = 4

// find returns the value with hash h for which is returns true.
func (t *table) find(h uint64, is func(v uint32) bool) (v uint32, ok bool) {
	if t.n == 0 {
		return 0, false
	}
	mask := uint64(len(t.slots) - 1)
	for at := h & mask; t.slots[at] != 0; at = (at + 1) & mask {
		if v := t.slots[at] - 1; is(v) {
			return v, true
		}
	}
	return 0, false
}

// add adds a value that must not be in the table. hash has to return the hash of any
// value.
func (t *table) add(v uint32, hash func(v uint32) uint64) {
	if 4*(t.n+1) > 3*len(t.slots) {
		old := t.slots
		t.slots = make([]uint32, max(2*len(old), minTable))
		for _, s := range old {
			if s != 0 {
				t.put(s, hash(s-1))
			}
		}
	}
	t.put(v+1, hash(v))
	t.n++
}

// put stores s, which is 1 + a value with hash h, in the first free place.
func (t *table) put(s uint32, h uint64) {
	mask := uint64(len(t.slots) - 1)
	at := h & mask
	for t.slots[at] != 0 {
		at = (at + 1) & mask
	}
	t.slots[at] = s
}

// remove removes a value if it is in the table. hash is as in add.
func (t *table) remove(v uint32, hash func(v uint32) uint64) {
	if t.n == 0 {
		return
	}
	mask := uint64(len(t.slots) - 1)
	at := hash(v) & mask
	for t.slots[at] != v+1 {
		if t.slots[at] == 0 {
			return
		}
		at = (at + 1) & mask
	}
	t.n--
	// Fill the hole, at which a search would end too early.
	for next := (at + 1) & mask; t.slots[next] != 0; next = (next + 1) & mask {
		home := hash(t.slots[next]-1) & mask
		if (next-home)&mask >= (next-at)&mask {
			t.slots[at] = t.slots[next]
			at = next
		}
	}
	t.slots[at] = 0
}

// all yields the values in no order.
func (t *table) all(yield func(v uint32) bool) {
	for _, s := range t.slots {
		if s != 0 && !yield(s-1) {
			return
		}
	}
}

// bytes returns the bytes that the table takes in memory.
func (t *table) bytes() int { return 4 * len(t.slots) }
