package ring

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"unsafe"
)

func TestRingIsSmallAndFreeOfPointers(t *testing.T) {
	if got := unsafe.Sizeof(Ring{}); got != 32 {
		t.Errorf("a Ring takes %d bytes, want 32", got)
	}
	rings := make([]Ring, 1)
	if n := testing.AllocsPerRun(10, func() { rings = append(rings[:0], Ring{}) }); n != 0 {
		t.Errorf("a Ring allocates %v times", n)
	}
}

// A model is a ring the dumb way: every entry in a slice.
type model struct {
	entries []Entry
	next    uint64
}

func (m *model) first() uint64 { return m.next - uint64(len(m.entries)) }

func (m *model) at(seq uint64) *Entry {
	if seq < m.first() || seq >= m.next {
		return nil
	}
	return &m.entries[seq-m.first()]
}

func (m *model) bytes() (n int) {
	for i := range m.entries {
		n += EntrySize(&m.entries[i])
	}
	return n
}

func (m *model) evict(upTo uint64) (n int) {
	for len(m.entries) > 0 && m.entries[0].Seq <= upTo {
		n += EntrySize(&m.entries[0])
		m.entries = m.entries[1:]
	}
	return n
}

func (m *model) expireThrough(cutoff int64) (seq uint64) {
	for i := range m.entries {
		if m.entries[i].Time > cutoff {
			break
		}
		seq = m.entries[i].Seq
	}
	return seq
}

func (m *model) afterArrival(arrival uint64) uint64 {
	for i := range m.entries {
		if m.entries[i].Arrival > arrival {
			return m.entries[i].Seq
		}
	}
	return m.next
}

// equal compares entries; an absent field may be nil or empty.
func equal(a, b *Entry) bool {
	x, y := *a, *b
	same := bytes.Equal(x.From, y.From) && bytes.Equal(x.CID, y.CID) &&
		bytes.Equal(x.Mentions, y.Mentions) && bytes.Equal(x.Body, y.Body)
	x.From, x.CID, x.Mentions, x.Body = nil, nil, nil, nil
	y.From, y.CID, y.Mentions, y.Body = nil, nil, nil, nil
	return same && fmt.Sprint(x) == fmt.Sprint(y)
}

// A run drives rings of one arena and their models with operations that pick
// chooses; pick returns a number below its argument.
type run struct {
	t       *testing.T
	pick    func(n int) int
	arena   *Arena
	rings   []Ring
	models  []model
	arrival uint64
	time    int64
	held    Held
	maxBody int // of the ordinary message
}

func newRun(t *testing.T, rings int, pick func(n int) int) *run {
	r := &run{t: t, pick: pick, arena: NewArena(), rings: make([]Ring, rings), models: make([]model, rings), maxBody: 300}
	for i := range r.models {
		r.models[i].next = 1
	}
	return r
}

// entry makes up an entry with any combination of fields.
func (r *run) entry() Entry {
	text := func(n int) []byte {
		b := make([]byte, n)
		if n > 0 {
			b[0], b[n-1] = byte(r.pick(256)), byte(r.arrival)
		}
		return b
	}
	r.arrival += 1 + uint64(r.pick(3))
	r.time += int64(r.pick(3)) - 1
	e := Entry{Arrival: r.arrival, Time: r.time, CID: text(r.pick(13)), Body: text(r.pick(r.maxBody))}
	fields := r.pick(128)
	e.Flags = Flags(fields) & (Own | Expired)
	e.ID[fields%16] = byte(fields)
	if fields&hasSession != 0 {
		e.Session = 1 << r.pick(64)
	}
	if fields&hasPeer != 0 {
		e.Peer = 1 << r.pick(64)
	}
	if fields&hasTTL != 0 {
		e.TTL = 1 << r.pick(32)
	}
	if fields&hasFrom != 0 {
		e.From = text(r.pick(65))
	}
	if fields&hasMentions != 0 {
		e.Mentions = text(r.pick(200))
	}
	if r.pick(50) == 0 {
		e.Body = text(r.pick(20 << 10))
	}
	return e
}

func (r *run) step() {
	i := r.pick(len(r.rings))
	ring, m, a := &r.rings[i], &r.models[i], r.arena
	switch op := r.pick(64); {
	case op < 36:
		e := r.entry()
		want := EntrySize(&e)
		size := ring.Append(a, &e)
		if size != want || e.Seq != m.next {
			r.t.Fatalf("ring %d: Append = %d with seq %d, want %d with %d", i, size, e.Seq, want, m.next)
		}
		m.entries = append(m.entries, e)
		m.next++
	case op < 52:
		upTo := m.first() + uint64(r.pick(3)) - 1
		if op == 51 {
			upTo = m.first() + uint64(r.pick(len(m.entries)+2))
		}
		got := ring.Truncate(a, upTo)
		if want := m.evict(upTo); got != want {
			r.t.Fatalf("ring %d: Evict(%d) = %d, want %d", i, upTo, got, want)
		}
	case op == 52:
		cutoff := r.time - int64(r.pick(20))
		got := ring.LastThroughTime(a, cutoff)
		if want := m.expireThrough(cutoff); got != want {
			r.t.Fatalf("ring %d: ExpireThrough(%d) = %d, want %d", i, cutoff, got, want)
		}
	case op == 53:
		a.HoldIn(&r.held)
	case op == 54:
		a.HoldIn(nil)
		a.Release(&r.held)
	case op == 55 && r.pick(20) == 0:
		next := m.next + uint64(r.pick(1000))
		ring.Reset(a, next)
		*m = model{next: next}
	default:
		r.lookup(i)
	}
	if got, want := [3]uint64{ring.First(), ring.Next(), uint64(ring.Len())}, [3]uint64{m.first(), m.next, uint64(len(m.entries))}; got != want {
		r.t.Fatalf("ring %d: First, Next, Len = %v, want %v", i, got, want)
	}
}

// lookup reads around a place that pick chooses.
func (r *run) lookup(i int) {
	ring, m, a := &r.rings[i], &r.models[i], r.arena
	seq := m.first() + uint64(r.pick(len(m.entries)+2)) - 1
	var e Entry
	want := m.at(seq)
	if got := ring.At(a, seq, &e); got != (want != nil) || got && !equal(&e, want) {
		r.t.Fatalf("ring %d: At(%d) = %v %v, want %v", i, seq, got, e, want)
	}
	wantSize := 0
	if want != nil {
		wantSize = EntrySize(want)
	}
	if got := ring.Size(a, seq); got != wantSize {
		r.t.Fatalf("ring %d: Size(%d) = %d, want %d", i, seq, got, wantSize)
	}
	up, down := ring.Ascend(a, seq), ring.Descend(a, seq)
	for k := range uint64(5) {
		seq := max(seq, m.first()) + k
		want := m.at(seq)
		if got := up.Next(&e); got != (want != nil) || got && !equal(&e, want) {
			r.t.Fatalf("ring %d: ascending to %d: %v %v, want %v", i, seq, got, e, want)
		}
	}
	for k := range uint64(5) {
		seq := min(seq, m.next-1) - k
		want := m.at(seq)
		if got := down.Next(&e); got != (want != nil) || got && !equal(&e, want) {
			r.t.Fatalf("ring %d: descending to %d: %v %v, want %v", i, seq, got, e, want)
		}
	}
	arrival := r.arrival - uint64(r.pick(40))
	if e := m.at(seq); e != nil && r.pick(2) == 0 {
		arrival = e.Arrival - uint64(r.pick(2))
	}
	if got, want := ring.FirstAfterArrival(a, arrival), m.afterArrival(arrival); got != want {
		r.t.Fatalf("ring %d: AfterArrival(%d) = %d, want %d", i, arrival, got, want)
	}
}

// finish compares all that is left, then empties the rings and expects the
// arena to be empty too.
func (r *run) finish() {
	a := r.arena
	for i := range r.rings {
		ring, m := &r.rings[i], &r.models[i]
		compare(r.t, a, ring, m)
		if got, want := ring.Bytes(), m.bytes(); got != want {
			r.t.Errorf("ring %d: Bytes() = %d, want %d", i, got, want)
		}
	}
	for i := range r.rings {
		r.rings[i].Reset(a, 1)
	}
	settle(a, &r.held)
	if got := a.Stats(); got.Used != 0 || got.Deferred != 0 {
		r.t.Errorf("all rings empty: Stats() = %+v", got)
	}
}

// compare walks the whole ring both ways.
func compare(t *testing.T, a *Arena, ring *Ring, m *model) {
	t.Helper()
	var e Entry
	n := 0
	for c := ring.Ascend(a, 0); c.Next(&e); n++ {
		if n == len(m.entries) || !equal(&e, &m.entries[n]) {
			t.Fatalf("ascending: entry %d = %v", n, e)
		}
	}
	if n != len(m.entries) {
		t.Fatalf("ascending: %d entries, want %d", n, len(m.entries))
	}
	for c := ring.Descend(a, 1<<63); c.Next(&e); {
		n--
		if n < 0 || !equal(&e, &m.entries[n]) {
			t.Fatalf("descending: entry %d = %v", n, e)
		}
	}
	if n != 0 {
		t.Fatalf("descending: %d entries missing", n)
	}
}

func TestRing(t *testing.T) {
	for seed := range uint64(8) {
		rings := 1 + int(seed%4)*3
		t.Run(fmt.Sprintf("rings=%d/seed=%d", rings, seed), func(t *testing.T) {
			r := newRun(t, rings, rand.New(rand.NewPCG(seed, 2)).IntN)
			for step := range 6000 {
				r.step()
				if step%1000 == 0 {
					for i := range r.rings {
						compare(t, r.arena, &r.rings[i], &r.models[i])
					}
				}
			}
			r.finish()
		})
	}
}

func FuzzRing(f *testing.F) {
	rnd := rand.New(rand.NewPCG(1, 3))
	for n := range 8 {
		ops := make([]byte, 64<<n)
		for i := range ops {
			ops[i] = byte(rnd.Uint32())
		}
		f.Add(ops)
	}
	f.Fuzz(func(t *testing.T, ops []byte) {
		ops = ops[:min(len(ops), 4<<10)]
		r := newRun(t, 2, func(n int) (v int) {
			for width := 1; width < n && len(ops) > 0; width <<= 8 {
				v, ops = v<<8|int(ops[0]), ops[1:]
			}
			return v % n
		})
		for len(ops) > 0 {
			r.step()
		}
		r.finish()
	})
}

// fill appends n entries with bodies of the given size.
func fill(a *Arena, r *Ring, n, body int) {
	e := Entry{Flags: Own, Session: 5, CID: make([]byte, 12), Body: make([]byte, body)}
	for range n {
		e.Arrival = r.Next()
		e.Time = 1795400000000 + int64(r.Next())
		r.Append(a, &e)
	}
}

func TestAppendOfAnEntryOfTheSameRing(t *testing.T) {
	a := NewArena()
	var r Ring
	r.Append(a, &Entry{Arrival: 1, Body: []byte("once more")})
	var e Entry
	for seq := uint64(1); seq < 100; seq++ {
		r.At(a, seq, &e)
		e.Arrival++
		r.Append(a, &e)
	}
	for c := r.Ascend(a, 1); c.Next(&e); {
		if string(e.Body) != "once more" || e.Arrival != e.Seq {
			t.Fatalf("entry %d = %q with arrival %d", e.Seq, e.Body, e.Arrival)
		}
	}
}

func TestEntriesLargerThanABlock(t *testing.T) {
	a := NewArena()
	var r Ring
	for seq := range uint64(6) {
		body := make([]byte, int(seq%2)*3*blockSize+1)
		body[len(body)-1] = byte(seq)
		r.Append(a, &Entry{Arrival: seq + 1, Body: body})
	}
	r.Truncate(a, 2)
	var e Entry
	seq := uint64(6)
	for c := r.Descend(a, 6); c.Next(&e); seq-- {
		if e.Seq != seq || e.Body[len(e.Body)-1] != byte(seq-1) {
			t.Errorf("entry %d has seq %d and ends in %d", seq, e.Seq, e.Body[len(e.Body)-1])
		}
	}
	if seq != 2 {
		t.Errorf("read down to %d, want 3", seq+1)
	}
	r.Truncate(a, 6)
	if got := a.Stats(); got.Used != 0 || got.Blocks > 2*blockSize {
		t.Errorf("ring empty: Stats() = %+v", got)
	}
}

func TestResetContinuesAtNext(t *testing.T) {
	a := NewArena()
	var r Ring
	for _, next := range []uint64{0, 1, 77, 1 << 60} {
		r.Reset(a, next)
		want := max(next, 1)
		if r.First() != want || r.Next() != want || r.Len() != 0 || r.Bytes() != 0 {
			t.Errorf("Reset(%d): %d..%d, %d entries", next, r.First(), r.Next(), r.Len())
		}
		fill(a, &r, 50, 100)
		if r.First() != want || r.Next() != want+50 {
			t.Errorf("Reset(%d) and 50 appends: %d..%d", next, r.First(), r.Next())
		}
	}
}

func TestBytesDependOnEntriesOnly(t *testing.T) {
	a, b := NewArena(), NewArena()
	var r, restored Ring
	fill(a, &r, 500, 150)
	r.Truncate(a, 200)
	restored.Reset(b, r.First())
	var e Entry
	for c := r.Ascend(a, 0); c.Next(&e); {
		restored.Append(b, &e)
	}
	if r.Bytes() != restored.Bytes() || r.First() != restored.First() || r.Next() != restored.Next() {
		t.Errorf("restored ring: %d..%d of %d bytes, want %d..%d of %d", restored.First(), restored.Next(),
			restored.Bytes(), r.First(), r.Next(), r.Bytes())
	}
}

func TestAppendRefusesMoreThanARingHolds(t *testing.T) {
	a := NewArena()
	r := Ring{bytes: maxBytes - 40, count: 1}
	defer func() {
		if recover() == nil {
			t.Error("did not panic")
		}
	}()
	r.Append(a, &Entry{Body: make([]byte, 100)})
}

func TestSteadyStateDoesNotAllocate(t *testing.T) {
	for _, held := range []int{1, 3, 100, 5000} {
		t.Run(fmt.Sprintf("held=%d", held), func(t *testing.T) {
			a := NewArena()
			var r Ring
			fill(a, &r, held, 128)
			e := Entry{Flags: Own, Session: 5, CID: make([]byte, 12), Body: make([]byte, 128)}
			var got Entry
			cycle := func() {
				e.Arrival = r.Next()
				r.Append(a, &e)
				r.Truncate(a, r.First())
				r.At(a, r.First(), &got)
				for c := r.Descend(a, r.FirstAfterArrival(a, r.Next()-3)); got.Seq+3 > r.Next() && c.Next(&got); {
				}
			}
			for range 2 * held { // one turn of the segments
				cycle()
			}
			if n := testing.AllocsPerRun(20000, cycle); n != 0 {
				t.Errorf("%v allocations per append and evict", n)
			}
		})
	}
}
