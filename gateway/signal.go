package gateway

import (
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/gateway/wire"
	"github.com/belfry-im/belfry/raftstore/store"
)

// maxSignals limits the signals that wait for the sync or for the window. If there are
// more, the oldest is dropped.
const maxSignals = 64

// Signal queues a signal for the pump. The store calls it.
func (s *session) Signal(signal store.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	if len(s.signals) == maxSignals {
		s.signals = append(s.signals[:0], s.signals[1:]...)
		s.gateway.metrics.drops.WithLabelValues("too many signals waiting").Inc()
	}
	s.signals = append(s.signals, signal)
	s.wakeLocked()
}

// pushSignals pushes the signals that wait, unless the sync is still being pushed. It
// stops at a message that has no room in the window. It returns how many messages it
// has queued.
func (s *session) pushSignals(p *pumpState) (pushed int) {
	for {
		signal, ok := s.takeSignal()
		if !ok {
			return pushed
		}
		switch signal.Kind {
		case store.SignalTyping:
			conv := wire.Conv(signal.User, signal.Group)
			s.queue(frameTyping, func(b []byte) []byte {
				return protocol.AppendTyping(b, s.codec, &protocol.Typing{User: string(signal.User), Conv: conv, Time: signal.Time})
			})
		case store.SignalPresence:
			status := protocol.StatusOffline
			if signal.Online {
				status = protocol.StatusOnline
			}
			s.queue(framePresence, func(b []byte) []byte {
				return protocol.AppendPresence(b, s.codec, &protocol.Presence{
					User: string(signal.User), Status: status, Time: signal.Time,
				})
			})
		case store.SignalEphemeral:
			m := wire.Message(signal.Message)
			m.Seq, m.Ephemeral = 0, true
			s.mu.Lock()
			w := protocol.BeginNewMessage(p.frame[:0], s.codec, s.window.nextDelivery())
			s.mu.Unlock()
			w.Add(&m, 0)
			p.frame = w.End("", nil, 0)
			s.mu.Lock()
			s.queueMessages(p.frame, 1, 0)
			s.mu.Unlock()
			pushed++
		}
	}
}

// takeSignal removes and returns the oldest signal. It reports false if there is none,
// or if it cannot be pushed now.
func (s *session) takeSignal() (store.Signal, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.loggedIn || s.sync != nil || s.ended || len(s.signals) == 0 {
		return store.Signal{}, false
	}
	signal := s.signals[0]
	if signal.Kind == store.SignalEphemeral && s.windowFull() {
		return store.Signal{}, false
	}
	if s.signals = s.signals[1:]; len(s.signals) == 0 {
		s.signals = nil
	}
	return signal, true
}
