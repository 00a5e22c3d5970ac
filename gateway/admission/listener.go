package admission

import (
	"crypto/tls"
	"errors"
	"net"
	"time"

	"github.com/pires/go-proxyproto"
)

// proxyHeaderTimeout is how long a proxy may take to name its client.
const proxyHeaderTimeout = 5 * time.Second

// A listener admits connections as they are accepted.
type listener struct {
	net.Listener
	controller *Controller
	tls        bool
}

// Listener returns a listener that accepts from l and admits each connection. With
// secure not nil the connections speak TLS.
func (a *Controller) Listener(l net.Listener, secure *tls.Config) net.Listener {
	admitted := &listener{Listener: l, controller: a, tls: secure != nil}
	if secure != nil {
		return tls.NewListener(admitted, secure)
	}
	return admitted
}

// Accept returns the next connection that is admitted. It closes those that are not.
func (l *listener) Accept() (net.Conn, error) {
	for {
		socket, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		proxies := &l.controller.proxies
		peer := addressOf(socket.RemoteAddr())
		proxied := proxies.trusts(peer)
		address := ""
		if !proxied {
			address = addressKey(peer)
		}
		limitUnsent(socket)
		c := l.controller.Admit(socket, address, l.tls)
		if c == nil {
			socket.Close()
			continue
		}
		if proxied && proxies.Protocol {
			return proxyproto.NewConn(c, proxyproto.WithPolicy(proxyproto.REQUIRE), proxyproto.SetReadHeaderTimeout(proxyHeaderTimeout)), nil
		}
		return c, nil
	}
}

// Of returns the admitted connection that c is or wraps, nil if there is none.
func Of(c net.Conn) *Conn {
	for {
		switch inner := c.(type) {
		case *Conn:
			return inner
		case *proxyproto.Conn:
			c = inner.Raw()
		case *tls.Conn:
			c = inner.NetConn()
		default:
			return nil
		}
	}
}

// CloseWrite ends the stream to the peer of c. The peer may still send.
func CloseWrite(c net.Conn) error {
	for {
		switch inner := c.(type) {
		case interface{ CloseWrite() error }:
			return inner.CloseWrite()
		case *Conn:
			c = inner.Conn
		case *proxyproto.Conn:
			c = inner.Raw()
		default:
			return errors.ErrUnsupported
		}
	}
}
