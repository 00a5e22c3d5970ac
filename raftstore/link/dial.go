package link

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

// A target is what a dialer expects to find.
type target struct {
	address string
	id      NodeID // "" = any node
	name    string // "" = any
	kind    kind
	group   string // of kindRaft and kindBulk
	replica string
}

// dial connects and does the dialer's part of the handshake, within Config.Handshake.
func (l *Link) dial(ctx context.Context, t target) (_ *conn, err error) {
	ctx, cancel := context.WithTimeout(ctx, l.config.Handshake)
	defer cancel()
	defer func() {
		if r, ok := errors.AsType[*refusal](err); ok {
			l.noteRefusal(true, t.address, t.name, t.kind, r)
		}
		if err != nil {
			err = fmt.Errorf("node %s at %s: %w", t.called(), t.address, err)
		}
	}()
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", t.address)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			raw.Close()
		}
	}()
	defer context.AfterFunc(l.ctx, func() { raw.Close() })()
	defer context.AfterFunc(ctx, func() { raw.SetDeadline(time.Unix(1, 0)) })()
	c := &conn{Conn: raw, raw: raw, link: l, kind: t.kind}
	h := hello{
		Speaks: l.config.Speaks, Cluster: l.Cluster(), From: l.config.ID, Name: l.config.Name,
		To: t.id, Group: t.group, Replica: t.replica, Boot: l.boot,
	}
	var preface string
	var keys *keys
	var leaf *x509.Certificate
	if l.creds == nil {
		preface = prefaceFor(t.kind)
	} else {
		secure := tls.Client(raw, l.creds.client(t.kind))
		if err := secure.HandshakeContext(ctx); err != nil {
			if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
				return nil, refuse(codeTLS, "the peer does not speak TLS, this node does")
			}
			return nil, err
		}
		c.Conn = secure
		keys = l.creds.now.Load()
		state := secure.ConnectionState()
		err := l.creds.check(state, x509.ExtKeyUsageServerAuth)
		if err == nil {
			leaf = state.PeerCertificates[0]
			if t.name != "" {
				err = keys.names(leaf, t.name)
			}
		}
		if err != nil {
			r := refuse(codeCertificate, "%v", err)
			writeMessage(secure, "", hello{Refused: r.reason})
			return nil, r
		}
	}
	if err := writeMessage(c.Conn, preface, h); err != nil {
		return nil, err
	}
	body, err := readMessage(c.Conn)
	if err != nil {
		return nil, err
	}
	w, err := parseWelcome(body, l.config.Speaks)
	if err != nil {
		return nil, err
	}
	switch {
	case t.id != "" && w.ID != t.id:
		return nil, refuse(codeNode, "it is node %s (%s), not %s", w.Name, w.ID, t.id)
	case t.name != "" && w.Name != t.name:
		return nil, refuse(codeNode, "it is node %s (%s), not %s", w.Name, w.ID, t.name)
	case w.ID == l.config.ID:
		return nil, refuse(codeNode, "it is this node itself")
	case t.kind != kindRPC && w.Cluster != h.Cluster:
		return nil, refuse(codeCluster, "it belongs to %s, this node to %s", clusterName(w.Cluster), clusterName(h.Cluster))
	}
	if keys != nil && t.name == "" {
		if err := keys.names(leaf, w.Name); err != nil {
			return nil, refuse(codeCertificate, "%v", err)
		}
	}
	c.peer, c.speaks, c.boot = Identity{ID: w.ID, Name: w.Name, Cluster: w.Cluster}, w.Speaks, w.Boot
	if err := l.register(c); err != nil {
		return nil, err
	}
	return c, nil
}

func (t target) called() string {
	if t.name != "" {
		return t.name
	}
	return string(t.id)
}

// isGone reports whether a dial failed because nothing listens at the address.
func isGone(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
