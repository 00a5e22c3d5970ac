package shard

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/belfry-im/belfry/shard/ring"
)

// appendUser encodes all that is kept of a user, as it goes into snapshots and
// moves: the header, conversations with their logs in order of their index,
// sessions, the dedupe window. What can be derived is left out, but for the
// queue's totals, which say what limits have seen so far.
func (s *State) appendUser(b []byte, u *user) []byte { return s.appendUserWith(b, u, true) }

func (s *State) appendUserWith(b []byte, u *user, totals bool) []byte {
	b = appendBytes(b, u.name)
	b = appendUint(b, u.arrival)
	b = appendUint(b, uint64(u.lastSession))
	b = appendInt(b, u.lastSeen)
	b = appendInt(b, u.hourStart)
	b = appendUint(b, uint64(u.hourOpened))
	b = appendUint(b, uint64(u.opened))

	b = appendUint(b, uint64(len(u.sessions)))
	for i := range u.sessions {
		ss := &u.sessions[i]
		b = appendUint(b, uint64(ss.number))
		b = appendBytes(b, ss.device)
		b = appendBytes(b, ss.platform)
		b = appendInt(b, ss.at)
		b = appendUint(b, uint64(len(ss.answers)))
		for _, a := range ss.answers {
			b = appendRequest(b, a.request)
			b = appendUint(b, uint64(a.unread))
		}
	}

	b = appendUint(b, uint64(len(u.convs)))
	for i := range u.convs {
		b = s.appendConv(b, u, &u.convs[i], totals)
	}

	b = appendUint(b, uint64(len(u.sent.records)))
	for i := range u.sent.records {
		r := &u.sent.records[i]
		b = appendUint(b, uint64(r.key.conv))
		b = appendUint(b, r.key.cid)
		b = appendUint(b, r.body)
		b = append(b, r.id[:]...)
		b = appendUint(b, r.seq)
		b = appendInt(b, r.time)
		b = appendInt(b, r.at)
	}
	return b
}

func (s *State) appendConv(b []byte, u *user, c *conv, totals bool) []byte {
	b = appendBytes(b, s.peer(c))
	b = append(b, c.flags, byte(c.gone))
	for _, v := range c.numbers() {
		b = appendUint(b, *v)
	}
	if totals {
		b = appendUint(b, uint64(c.queued))
		b = appendUint(b, uint64(c.queuedBytes))
	}
	b = appendInt(b, c.lastTime)
	b = appendInt(b, c.peerReadMS)
	b = appendUint(b, uint64(c.readBy))
	b = appendUint(b, uint64(c.deletedBy))
	b = appendUint(b, uint64(c.wipedBy))

	var x extra
	if c.extra != 0 {
		x = u.extras[c.extra-1]
	}
	b = appendUint(b, uint64(len(x.marks)))
	for _, m := range x.marks {
		b = appendUint(b, m.seq)
		b = appendUint(b, m.arrival)
		b = appendUint(b, uint64(m.by))
		b = append(b, byte(m.reason))
		b = appendBool(b, m.own)
	}
	b = appendUint(b, uint64(len(x.lost)))
	for _, l := range x.lost {
		b = appendUint(b, l.from)
		b = appendUint(b, l.to)
		b = appendUint(b, l.count)
		b = appendUint(b, l.arrival)
	}
	b = appendUint(b, uint64(len(x.gone)))
	for _, g := range x.gone {
		b = appendUint(b, g.to)
		b = append(b, byte(g.reason))
	}

	var q outQueue
	if c.outbox != 0 {
		q = u.outbox[c.outbox-1]
	}
	b = appendUint(b, uint64(len(q.bytes)))
	for _, l := range q.bytes {
		b = appendBytes(b, l)
	}

	b = appendUint(b, c.log.First())
	b = appendUint(b, uint64(c.log.Len()))
	var e ring.Entry
	for cur := c.log.Ascend(s.arena, c.log.First()); cur.Next(&e); {
		b = ring.AppendEntry(b, &e)
	}
	return b
}

// numbers lists the plain counters of a conversation in the order of the
// encoding.
func (c *conv) numbers() [17]*uint64 {
	return [...]*uint64{
		&c.read, &c.floor, &c.hidden, &c.lastArrival, &c.changed, &c.readAt, &c.peerRead, &c.peerReadAt,
		&c.deletedAt, &c.lettersOut, &c.lettersIn, &c.receipted, &c.gonePeer, &c.gonePeerSeq, &c.goneFrom,
		&c.wiped, &c.wipedAt,
	}
}

// decodeUser reads what appendUser wrote. Only a well-formed record is taken;
// an error leaves garbage in the arena, so the caller gives up the state.
func (s *State) decodeUser(b []byte) (*user, error) {
	d := decoder{b: b}
	u := &user{
		name: d.user(), marked: s.marks, arrival: d.uint(), lastSession: SessionID(d.uint()),
		lastSeen: d.int(), hourStart: d.int(), hourOpened: int(d.uintMax(1 << 40)), opened: int(d.uintMax(1 << 40)),
	}
	sessions := d.count(5)
	u.sessions = make([]session, 0, sessions)
	for range sessions {
		ss := session{number: SessionID(d.uint()), device: d.text(MaxName), platform: d.text(MaxName), at: d.int()}
		for range d.count(3) {
			ss.answers = append(ss.answers, answer{request: d.request(), unread: int(d.uintMax(1 << 40))})
		}
		if n := len(u.sessions); n > 0 && u.sessions[n-1].number >= ss.number || len(ss.answers) > keptAnswers {
			d.fail(errMalformed)
		}
		u.sessions = append(u.sessions, ss)
	}

	n := d.count(minConvBytes)
	u.convs = make([]conv, 0, n)
	for range n {
		s.decodeConv(&d, u)
	}

	for range d.count(22) {
		r := sentRecord{key: sentKey{conv: uint32(d.uintMax(1<<32 - 1)), cid: d.uint()}, body: d.uint(), id: d.id()}
		r.seq, r.time, r.at = d.uint(), d.int(), d.int()
		if int(r.key.conv) >= len(u.convs) {
			d.fail(errMalformed)
		}
		u.sent.add(r)
		s.sentRecords++
	}
	if err := d.end(); err != nil {
		return nil, fmt.Errorf("user %q: %w", u.name, err)
	}

	order := make([]int, len(u.convs))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Compare(u.convs[i].activity(), u.convs[j].activity()) })
	for _, i := range order {
		if u.convs[i].activity() > 0 {
			s.activate(u, i)
		}
	}
	return u, nil
}

// minConvBytes and minEntryBytes are the least that an encoded conversation and
// an entry of a log take.
const (
	minConvBytes  = 34
	minEntryBytes = 4
)

func (s *State) decodeConv(d *decoder, u *user) {
	peer := d.user()
	if d.err != nil || s.find(u, peer) >= 0 {
		d.fail(errMalformed)
		return
	}
	i := s.open(u, peer)
	c := &u.convs[i]
	c.flags, c.gone = d.byte(), gapCode(d.byte())
	for _, v := range c.numbers() {
		*v = d.uint()
	}
	s.count(u, c, int(d.uintMax(1<<31)), int(d.uintMax(1<<31)))
	c.lastTime, c.peerReadMS = d.int(), d.int()
	c.readBy, c.deletedBy, c.wipedBy = SessionID(d.uint()), SessionID(d.uint()), SessionID(d.uint())
	if c.flags&convBlocked != 0 {
		u.blocked++
	}

	var x extra
	n := d.count(5)
	x.marks = slices.Grow(x.marks, n)
	for range n {
		x.marks = append(x.marks, mark{seq: d.uint(), arrival: d.uint(), by: SessionID(d.uint()), reason: d.gap(), own: d.bool()})
	}
	n = d.count(4)
	x.lost = slices.Grow(x.lost, n)
	for range n {
		x.lost = append(x.lost, lostRun{from: d.uint(), to: d.uint(), count: d.uint(), arrival: d.uint()})
	}
	n = d.count(2)
	x.gone = slices.Grow(x.gone, n)
	for range n {
		x.gone = append(x.gone, goneRun{to: d.uint(), reason: d.gap()})
	}
	if len(x.marks)+len(x.lost)+len(x.gone) > 0 {
		*u.rare(c) = x
	}

	for n := range d.count(2) {
		b := slices.Clone(d.bytes())
		l, err := DecodeLetter(b)
		if err != nil || l.From != u.name || l.To != peer {
			d.fail(errMalformed)
			return
		}
		if n == 0 {
			c.outbox = u.newOutQueue(peer, l.Number)
		}
		q := &u.outbox[c.outbox-1]
		if l.Number != q.first+uint64(n) {
			d.fail(errMalformed)
			return
		}
		q.bytes = append(q.bytes, b)
		s.letterBytes += len(b)
	}

	first := d.uint()
	if first == 0 || first > 1<<53 || first > 1 && (c.gone < gapExpired || c.gone > gapRecalled) {
		d.fail(errMalformed)
		return
	}
	c.log.Reset(s.arena, first)
	var e ring.Entry
	last := uint64(0)
	for range d.count(minEntryBytes) {
		n, err := ring.DecodeEntry(d.b, &e)
		if err != nil || e.Arrival <= last || e.Arrival > u.arrival {
			d.fail(errMalformed)
			return
		}
		last = e.Arrival
		d.b = d.b[n:]
		size := c.log.Append(s.arena, &e)
		u.bytes += size
		s.ages.add(e.Time, size)
		if e.Flags&ring.Own == 0 {
			c.expireBy(&e) // too early, if it is no longer in the queue, does no harm
		}
	}
}

func (d *decoder) gap() gapCode {
	g := gapCode(d.byte())
	if g < gapExpired || g > gapRecalled {
		d.fail(errMalformed)
	}
	return g
}
