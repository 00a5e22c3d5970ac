package link

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"
)

const (
	// maxHandshakes bounds the connections whose hello is not done, see crowd. Whoever never
	// says hello has one of them for Config.Handshake.
	maxHandshakes = 256
	acceptPause   = 50 * time.Millisecond // after the port failed, as without descriptors
	lingerBytes   = 64 << 10
	lingerTime    = 500 * time.Millisecond
)

func (l *Link) acceptLoop(ln net.Listener) {
	for {
		raw, err := ln.Accept()
		if err == nil {
			g := newGuest(raw, func() { raw.Close() })
			if out := l.handshakes.enter(g); out != nil {
				out.end()
				l.noteRefusal(false, out.host, "", "", refuse(codeLimit, "connections without a hello are open, as many as may be, and others want one"))
			}
			if !l.spawn(func() {
				defer l.handshakes.leave(g)
				l.receive(raw, g)
			}) {
				raw.Close()
				err = errClosed
			}
		}
		if err == nil {
			continue
		}
		if l.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return
		}
		l.log.Warn("accepting a connection of a node failed", "err", err)
		select {
		case <-l.ctx.Done():
			return
		case <-time.After(acceptPause):
		}
	}
}

// receive does the acceptor's part of a handshake and hands the connection on. g stands
// for it among those whose hello is not done.
func (l *Link) receive(raw net.Conn, g *guest) {
	stop := context.AfterFunc(l.ctx, func() { raw.Close() })
	defer stop()
	raw.SetDeadline(time.Now().Add(l.config.Handshake))
	c := &conn{Conn: raw, raw: raw, link: l, accepted: true}
	h, answer, err := l.shake(c)
	var deliver func()
	if err == nil {
		deliver, err = l.admit(c, h)
	}
	if err == nil {
		if err = l.register(c); err == nil {
			w := welcome{Speaks: l.config.Speaks, Cluster: l.Cluster(), ID: l.config.ID, Name: l.config.Name, Boot: l.boot}
			if err = writeMessage(answer, "", w); err == nil {
				raw.SetDeadline(time.Time{})
				l.handshakes.leave(g)
				if !stop() { // Close has begun, and would not find it any more
					c.Close()
					return
				}
				deliver()
				return
			}
			l.forget(c)
		}
	}
	if l.handshakes.isOut(g) { // which was noted
		raw.Close()
		return
	}
	r, ok := errors.AsType[*refusal](err)
	if !ok {
		r = refuse(codeTimeout, "the handshake ended early: %v", withoutPorts(err))
	}
	l.noteRefusal(false, raw.RemoteAddr().String(), h.Name, c.kind, r)
	if !r.remote && answer != nil {
		w := welcome{Speaks: l.config.Speaks, ID: l.config.ID, Name: l.config.Name, Refused: r.reason, Code: r.code}
		if writeMessage(answer, "", w) == nil {
			linger(raw)
		}
	}
	raw.Close()
}

// shake does what comes before the node is asked what it thinks of the hello: TLS or
// the preface, the hello, and whether the certificate fits it. Refusals are to be
// written to answer, unless that is nil.
func (l *Link) shake(c *conn) (h hello, answer io.Writer, err error) {
	var keys *keys
	var state tls.ConnectionState
	if l.creds == nil {
		answer = c.raw
		if c.kind, err = readPreface(c.raw); err != nil {
			return h, answer, err
		}
	} else {
		secure := tls.Server(c.raw, l.creds.server())
		if err := secure.HandshakeContext(l.ctx); err != nil {
			if plain, ok := errors.AsType[tls.RecordHeaderError](err); ok && plain.Conn != nil {
				return h, plain.Conn, refuse(codeTLS, "the peer does not speak TLS, this node does")
			}
			if errors.Is(err, io.EOF) || isTimeout(err) {
				return h, nil, err
			}
			return h, nil, refuse(codeTLS, "%v", withoutPorts(err))
		}
		c.Conn, answer = secure, secure
		state, keys = secure.ConnectionState(), l.creds.now.Load()
		if c.kind = kind(state.NegotiatedProtocol); c.kind == "" {
			return h, answer, refuse(codeTLS, "the peer names no kind of connection by ALPN")
		}
	}
	body, err := readMessage(c.Conn)
	if err != nil {
		return h, answer, err
	}
	if h, err = parseHello(body, l.config.Speaks); err != nil {
		return h, answer, err
	}
	if h.Refused != "" {
		return h, answer, &refusal{code: codeCertificate, reason: h.Refused, remote: true}
	}
	if keys != nil {
		if err := l.creds.check(state, x509.ExtKeyUsageClientAuth); err != nil {
			return h, answer, refuse(codeCertificate, "%v", err)
		}
		if err := keys.names(state.PeerCertificates[0], h.Name); err != nil {
			return h, answer, refuse(codeCertificate, "%v", err)
		}
	}
	c.peer, c.speaks, c.boot = Identity{ID: h.From, Name: h.Name, Cluster: h.Cluster}, h.Speaks, h.Boot
	return h, answer, nil
}

// admit decides on a hello that fits its certificate, and returns what takes the
// connection once it is welcome.
func (l *Link) admit(c *conn, h hello) (deliver func(), err error) {
	cluster := l.Cluster()
	p := l.peer(h.From)
	switch {
	case h.From == l.config.ID:
		return nil, refuse(codeNode, "%s is this node's own id", h.From)
	case h.To != "" && h.To != l.config.ID:
		return nil, refuse(codeNode, "this is node %s (%s), not %s", l.config.Name, l.config.ID, h.To)
	case h.Cluster != cluster && (c.kind != kindRPC || h.Cluster != "" && cluster != ""):
		return nil, refuse(codeCluster, "this node belongs to %s, the peer to %s", clusterName(cluster), clusterName(h.Cluster))
	case p == nil && c.kind != kindRPC:
		return nil, refuse(codeNode, "node %s (%s) is not in the map of this node", h.Name, h.From)
	}
	if p != nil {
		if name := p.name(); name != h.Name {
			return nil, refuse(codeNode, "node %s is called %s in the map, not %s", h.From, name, h.Name)
		}
	}
	switch c.kind {
	case kindControl:
		if err := p.admitControl(h.Boot); err != nil {
			return nil, err
		}
		return func() { p.attach(c, false) }, nil
	case kindRPC:
		return func() { l.rpcs.put(c) }, nil
	default:
		t := l.group(h.Group)
		if t == nil {
			return nil, refuse(codeGroup, "there is no replica of group %s here", h.Group)
		}
		if h.Replica != string(t.local) {
			return nil, refuse(codeGroup, "the replica of group %s here is %s, not %s", h.Group, t.local, h.Replica)
		}
		return func() { t.accept(c) }, nil
	}
}

func clusterName(id string) string {
	if id == "" {
		return "no cluster"
	}
	return "cluster " + id
}

// linger lets a peer read why it was refused: closing a socket that has unread bytes
// would throw away what was written to it.
func linger(raw net.Conn) {
	raw.SetDeadline(time.Now().Add(lingerTime))
	if half, ok := raw.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		io.CopyN(io.Discard, raw, lingerBytes)
	}
}

func isTimeout(err error) bool {
	t, ok := errors.AsType[net.Error](err)
	return ok && t.Timeout()
}

// withoutPorts returns why a connection has ended without its ports, which are others each
// time.
func withoutPorts(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Addr != nil {
		return op.Err
	}
	return err
}

// noteRefusal counts a refusal of a connection by either side, and logs it. dialed says
// that this node made the connection.
func (l *Link) noteRefusal(dialed bool, address, name string, k kind, r *refusal) {
	if r.code == codeDuplicate {
		return // the ordinary end of two nodes that dialed each other
	}
	l.metrics.refusals.WithLabelValues(r.code).Inc()
	host := address
	if !dialed { // from a port that is another one each time
		if h, _, err := net.SplitHostPort(address); err == nil {
			host = h
		}
	}
	if !l.said.first(host + "\x00" + name + "\x00" + r.reason) {
		return
	}
	var message string
	switch {
	case dialed && r.remote:
		message = "a node refused a connection of this one"
	case dialed:
		message = "refused a node that this one has dialed"
	case r.remote:
		message = "a node refused this one, which it has dialed"
	default:
		message = "refused a connection of a node"
	}
	level := slog.LevelWarn
	if r.code == codeGroup {
		level = slog.LevelDebug // as while replicas are opened and closed
	}
	l.log.Log(l.ctx, level, message, "peer", name, "address", address, "kind", string(k), "reason", r.reason)
}

// A quieter tells what is new from what was said a moment ago, so that a node that
// tries again every second does not fill the log.
type quieter struct {
	mu   sync.Mutex
	said map[string]time.Time
}

const (
	maxSaid  = 256 // sentences; all are forgotten then
	sayAgain = time.Minute
)

func (q *quieter) first(sentence string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	if at, ok := q.said[sentence]; ok && now.Sub(at) < sayAgain {
		return false
	}
	if q.said == nil || len(q.said) >= maxSaid {
		q.said = make(map[string]time.Time)
	}
	q.said[sentence] = now
	return true
}
