package gateway

import (
	"errors"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
)

// A readUpTo is a read report: the user has read the messages of peer up to seq.
type readUpTo struct {
	peer command.UserID
	seq  uint64
}

// maxReads is how many conversations may have read reports that wait for those in
// flight. If there are more, they are submitted at once.
const maxReads = 256

// ack removes the frames up to d from the window. If acks are read reports, it reports
// the messages in them as read.
func (s *session) ack(d uint64) {
	s.mu.Lock()
	before := len(s.window.frames)
	read, ok := s.window.ack(d, !s.background)
	freed := len(s.window.frames) < before
	recovered := freed && s.restartStallTimer()
	acked := freed && !s.background
	if !ok {
		s.mu.Unlock()
		s.gateway.metrics.drops.WithLabelValues("ack of nothing pushed").Inc()
		return
	}
	if s.autoRead {
		for _, m := range read {
			s.addPendingRead(m.peer, m.seq)
		}
	}
	if s.fullSince != 0 && freed {
		s.gateway.metrics.windowSeconds.Add((s.age() - s.fullSince).Seconds())
		s.fullSince = 0
		s.wakeLocked()
	}
	s.mu.Unlock()
	if recovered {
		s.gateway.backend.SetStalled(s.user, s.id(), false, 0)
	}
	if acked {
		s.gateway.backend.Acked(s.user, s.id())
	}
	s.reportReads(false)
}

// addPendingRead adds a read report to those that wait. The caller holds mu.
func (s *session) addPendingRead(peer command.UserID, seq uint64) {
	for i := len(s.pendingReads) - 1; i >= 0; i-- {
		if s.pendingReads[i].peer == peer {
			s.pendingReads[i].seq = max(s.pendingReads[i].seq, seq)
			return
		}
	}
	s.pendingReads = append(s.pendingReads, readUpTo{peer, seq})
}

// reportReads submits the read reports that wait. If others are in flight, it leaves
// that to their outcome, unless now is true.
func (s *session) reportReads(now bool) {
	s.reports.Lock()
	defer s.reports.Unlock()
	s.mu.Lock()
	if len(s.pendingReads) == 0 || s.reportsInFlight > 0 && !now && len(s.pendingReads) < maxReads {
		s.mu.Unlock()
		return
	}
	reads := s.pendingReads
	s.pendingReads = nil
	s.reportsInFlight += len(reads)
	s.mu.Unlock()
	s.submits.Add(len(reads))
	for _, r := range reads {
		cmd := &command.ReadReport{User: s.user, Session: s.id(), Peer: r.peer, Seq: r.seq, Auto: true}
		s.gateway.backend.Submit(cmd, func(_ command.Result, err error) {
			s.readReported(r, err)
			s.submits.Done()
		})
	}
}

// readReported handles the outcome of a read report. A report that may not have been
// applied is repeated, unless the session ends first: then the next login pushes the
// messages again, and the client recognizes their ids.
func (s *session) readReported(r readUpTo, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reportsInFlight--
	if s.stopped {
		return
	}
	if errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrUnknown) {
		s.addPendingRead(r.peer, r.seq)
		s.retryAt = s.age() + store.RetryAfter(err)
		s.wakeLocked()
		return
	}
	if s.reportsInFlight == 0 && len(s.pendingReads) > 0 {
		s.wakeLocked() // the pump submits those that wait
	}
}
