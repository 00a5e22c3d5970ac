package gateway

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/gateway/ws"
	"github.com/belfry-im/belfry/raftstore/store"
)

const (
	// maxGaps is how many gaps of a session are told apart. What is refused beyond that
	// counts as one with the last of its conversation or, if that has none, of all such
	// conversations.
	maxGaps = 256
	// gapPatience is how long a conversation is kept from a client that answers pings and
	// sends on and on without regard to refusals: its order is its own affair.
	gapPatience = 3 * time.Second
)

// gaps are the sends of a session that were given up for want of a leader, and of which its
// client may not know yet. If its connection is dead, it repeats them elsewhere; what it had
// sent after them must not be stored before that. So later sends to the same conversation are
// refused too, until the client repeats the first of the gaps, or has answered a ping that
// was sent behind their refusal. Guarded by session.mu.
type gaps struct {
	convs map[protocol.Conv]*convGaps // protocol.Conv{}: of those that are not told apart
	count int
	last  uint64 // number of the newest gap
}

// convGaps are those of one conversation, oldest first.
type convGaps struct {
	list  []gap
	first uint64 // number of the first one since there was none
	since time.Duration
}

type gap struct {
	cid    uint64 // hash of the send's cid
	number uint64 // payload of the ping that tells of it
}

// errBehindGap refuses a send behind a gap, and so makes another one.
var errBehindGap = &refusal{protocol.CodeUnavailable, "op: an earlier message of this conversation could not be stored; repeating both is safe", store.DefaultRetryAfter}

// refuseSend refuses a send, and notes a gap if that makes one. Refusals that do come one
// after the other, each with a ping behind it: none overtakes the refusal of a gap that it
// tells of.
func (s *session) refuseSend(r request, conv protocol.Conv, cid string, err error) {
	if err != error(errBehindGap) && !errors.Is(err, store.ErrNoLeader) {
		s.refuse(r, err)
		return
	}
	s.gapping.Lock()
	defer s.gapping.Unlock()
	s.noteGap(conv, cid)
	s.refuse(r, err)
	s.pingForGaps()
}

// noteGap notes a gap.
func (s *session) noteGap(conv protocol.Conv, cid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := &s.gaps
	g.last++
	in := g.convs[conv]
	if in == nil && (g.count >= maxGaps || g.convs[protocol.Conv{}] != nil) {
		conv = protocol.Conv{}
		in = g.convs[conv]
	}
	if in == nil {
		if g.convs == nil {
			g.convs = make(map[protocol.Conv]*convGaps)
		}
		in = &convGaps{first: g.last, since: s.age()}
		g.convs[conv] = in
	}
	if g.count < maxGaps || len(in.list) == 0 {
		in.list = append(in.list, gap{xxhash.Sum64String(cid), g.last})
		g.count++
	} else {
		in.list[len(in.list)-1].number = g.last
	}
	s.gapped.Store(true)
}

// pingForGaps queues a ping whose answer says that the client has read all that is queued.
func (s *session) pingForGaps() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.conn.QueueFrame(ws.OpPing, func(b []byte) []byte { return binary.BigEndian.AppendUint64(b, s.gaps.last) })
	s.wakeLocked()
}

// checkGaps refuses a send behind a gap in its conversation. One that repeats the first gap
// closes it.
func (s *session) checkGaps(conv protocol.Conv, cid string) error {
	if !s.gapped.Load() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	in := s.gaps.convs[conv]
	switch {
	case in == nil && s.gaps.convs[protocol.Conv{}] == nil:
		return nil
	case in == nil || in.list[0].cid != xxhash.Sum64String(cid):
		return errBehindGap
	}
	s.closeGaps(conv, in, 1)
	return nil
}

// closeKnownGaps closes the gaps of which the client knows, as a pong tells.
func (s *session) closeKnownGaps(pong []byte) {
	if len(pong) != 8 || !s.gapped.Load() {
		return
	}
	known := binary.BigEndian.Uint64(pong)
	s.mu.Lock()
	defer s.mu.Unlock()
	for conv, in := range s.gaps.convs {
		n := slices.IndexFunc(in.list, func(g gap) bool { return g.number > known })
		if n < 0 || in.first <= known && s.age()-in.since > gapPatience {
			n = len(in.list)
		}
		s.closeGaps(conv, in, n)
	}
}

// closeGaps closes the first n gaps of a conversation. The caller holds mu.
func (s *session) closeGaps(conv protocol.Conv, in *convGaps, n int) {
	in.list = in.list[n:]
	s.gaps.count -= n
	if len(in.list) > 0 {
		return
	}
	if delete(s.gaps.convs, conv); len(s.gaps.convs) == 0 {
		s.gaps.convs = nil
		s.gapped.Store(false)
	}
}
