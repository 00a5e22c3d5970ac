package watch

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// defaultSilence is how long the other end of a stream may say nothing.
	defaultSilence = 5 * time.Second
	// defaultKeep is how long kicks are kept for a node without a stream.
	defaultKeep = time.Minute
)

// A Host is what a Server needs of the store whose leaders run on its node.
type Host interface {
	// Watch takes in what a node watches of a shard. For what is behind it wakes the
	// node's Session or Group, or calls Audience.Presence; of sessions that it does not
	// know it calls Audience.Gone. It returns false if this node does not lead the shard
	// in that term: then it has done nothing. It may keep what the interests refer to.
	Watch(a *Audience, shard uint32, term uint64, interests []Interest) bool
	// Lost is called when a node's stream has ended: whatever stands for the node has to
	// go. Watch is not called for it meanwhile.
	Lost(a *Audience)
}

// A Config configures a Server or a Follower.
type Config struct {
	Silence time.Duration      // after which the other end counts as gone; 0 = 5 s
	Keep    time.Duration      // how long a Server keeps kicks for a node without a stream; 0 = 1 min
	Dropped prometheus.Counter // signals for which there was no room; nil: not counted
	Retold  prometheus.Counter // times that a leader was told all that is watched of a shard; nil: not counted
	Log     *slog.Logger       // nil discards
}

func (c Config) withDefaults() Config {
	if c.Silence == 0 {
		c.Silence = defaultSilence
	}
	if c.Keep == 0 {
		c.Keep = defaultKeep
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// A Server is the end of a node whose leaders others follow.
type Server struct {
	config  Config
	host    Host
	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup

	mu       sync.Mutex
	wanted   bool // acks are
	closed   bool
	visitors map[string]*visitor
}

// A visitor is a node that has, or had, a stream.
type visitor struct {
	audience *Audience
	serving  sync.Mutex // held while a stream is served

	// Guarded by Server.mu.
	streams int                // how many there were
	end     context.CancelFunc // of the newest
	forget  *time.Timer        // runs while there is none
}

// NewServer returns a Server. Close ends it.
func NewServer(host Host, c Config) *Server {
	s := &Server{config: c.withDefaults(), host: host, visitors: make(map[string]*visitor)}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s
}

// Close ends all streams and returns when no goroutine is left. The caller has to close
// those Conns that it serves.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	for _, v := range s.visitors {
		if v.forget != nil {
			v.forget.Stop()
		}
	}
	s.mu.Unlock()
	s.stop()
	s.running.Wait()
}

// WantAcks says whether nodes are to tell what their sessions ack: only hooks need that.
func (s *Server) WantAcks(wanted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted = wanted
	for _, v := range s.visitors {
		v.audience.WantAcks(wanted)
	}
}

// Serve serves a stream of a node until it ends. An earlier one of the same node ends
// first.
func (s *Server) Serve(ctx context.Context, node string, conn Conn) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	defer context.AfterFunc(s.ctx, end)()
	v, number := s.visit(node, end)
	if v == nil {
		conn.Close()
		return errEnded
	}
	defer s.running.Done()
	v.serving.Lock()
	defer v.serving.Unlock()
	a := v.audience
	a.attach()
	t := &talk{
		conn: conn, silence: s.config.Silence, ready: a.ready, next: a.next,
		hear: func(message []byte) error { return s.hear(a, message) },
	}
	err := t.run(ctx, &s.running)
	a.detach()
	s.host.Lost(a)
	s.leave(v, number)
	s.config.Log.Debug("a node's stream of watches ended", "peer", node, "error", err)
	return err
}

// visit notes that a node has a new stream, and ends its earlier one. It returns the
// stream's number among those of the node, and nil if the server is closed.
func (s *Server) visit(node string, end context.CancelFunc) (v *visitor, number int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, 0
	}
	v = s.visitors[node]
	if v == nil {
		v = &visitor{audience: newAudience(node, s.dropped)}
		v.audience.wanted = s.wanted
		s.visitors[node] = v
	}
	if v.end != nil {
		v.end()
	}
	if v.forget != nil {
		v.forget.Stop()
		v.forget = nil
	}
	v.end = end
	v.streams++
	s.running.Add(1)
	return v, v.streams
}

// leave notes that a stream has ended. Unless there is a newer one, kicks are kept for a
// while.
func (s *Server) leave(v *visitor, number int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || v.streams != number {
		return
	}
	v.forget = time.AfterFunc(s.config.Keep, func() { s.forget(v, number) })
}

// forget forgets a node whose stream ended a while ago, unless there is a newer one.
func (s *Server) forget(v *visitor, number int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.streams == number {
		delete(s.visitors, v.audience.node)
	}
}

func (s *Server) dropped(n int) {
	if s.config.Dropped != nil {
		s.config.Dropped.Add(float64(n))
	}
}

// hear passes what a node tells to the host, all that belongs to one leadership at once.
func (s *Server) hear(a *Audience, message []byte) error {
	var interests []Interest
	var shard uint32
	var term uint64
	flush := func() {
		if len(interests) > 0 && !s.host.Watch(a, shard, term, interests) {
			a.refuse(shard, term)
		}
		interests = nil
	}
	err := items(message, func(it *item) error {
		switch it.kind {
		case kindConfirmed:
			a.confirm(it.number)
		case kindInterest:
			if it.shard != shard || it.term != term {
				flush()
				shard, term = it.shard, it.term
			}
			interests = append(interests, it.interest)
		}
		return nil
	})
	flush()
	return err
}
