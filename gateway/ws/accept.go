package ws

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/coder/websocket"

	"github.com/belfry-im/belfry/gateway/admission"
)

// Options are those of Accept.
type Options struct {
	Subprotocols []string // that are supported
	Origins      []string // patterns of origins that are allowed beside the host
	Admission    *admission.Controller
}

// Accept upgrades a request and returns the subprotocol that was chosen, "" for none.
// On an error it has answered the request: with 403 for an origin that is not allowed,
// with 400 for a bad handshake.
func Accept(w http.ResponseWriter, r *http.Request, o *Options) (c *Conn, subprotocol string, err error) {
	hijack := &hijacker{ResponseWriter: w, admission: o.Admission}
	shaken, err := websocket.Accept(hijack, r, &websocket.AcceptOptions{
		Subprotocols:   preferred(r.Header, o.Subprotocols),
		OriginPatterns: o.Origins,
	})
	if err != nil {
		if hijack.conn != nil {
			hijack.conn.Close()
		}
		return nil, "", err
	}
	subprotocol = shaken.Subprotocol()
	shaken.CloseNow() // the handshake was all it was for
	return hijack.conn, subprotocol, nil
}

// CheckUpgrade returns 0 for a request for a WebSocket. For another one it returns the
// status of the answer and sets its headers (RFC 9110, 15.5.6 and 15.5.22; RFC 6455,
// 4.4).
func CheckUpgrade(w http.ResponseWriter, r *http.Request) (status int) {
	h := w.Header()
	switch {
	case r.Method != http.MethodGet:
		h.Set("Allow", http.MethodGet)
		return http.StatusMethodNotAllowed
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		h.Set("Sec-WebSocket-Version", "13")
	case r.ProtoAtLeast(1, 1) && hasToken(r.Header, "Connection", "upgrade") && hasToken(r.Header, "Upgrade", "websocket"):
		return 0
	}
	h.Set("Upgrade", "websocket")
	h.Set("Connection", "Upgrade, close")
	return http.StatusUpgradeRequired
}

// hasToken reports whether a header that is a list has token, in any case.
func hasToken(h http.Header, name, token string) bool {
	for _, list := range h.Values(name) {
		for t := range strings.SplitSeq(list, ",") {
			if strings.EqualFold(strings.TrimSpace(t), token) {
				return true
			}
		}
	}
	return false
}

// preferred returns the first of the offered subprotocols that is supported, or none.
// A client lists them in order of preference (RFC 6455, 4.1); websocket.Accept would
// go by the server's order.
func preferred(h http.Header, supported []string) []string {
	for _, offered := range h.Values("Sec-WebSocket-Protocol") {
		for name := range strings.SplitSeq(offered, ",") {
			for _, known := range supported {
				if strings.EqualFold(strings.TrimSpace(name), known) {
					return []string{known}
				}
			}
		}
	}
	return nil
}

// A hijacker is the ResponseWriter to upgrade with. It hands the library a socket on
// which nothing happens, and keeps the real one.
type hijacker struct {
	http.ResponseWriter
	admission *admission.Controller
	conn      *Conn // set by Hijack
}

func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	raw, buf, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	early, _ := buf.Reader.Peek(buf.Reader.Buffered())
	admitted := admission.Of(raw)
	if admitted == nil { // it did not come through the controller's listener
		if admitted = h.admission.Admit(raw, "", false); admitted == nil {
			raw.Close()
			return nil, nil, errors.New("ws: no room for another connection")
		}
		raw = admitted
	}
	h.conn = NewConn(raw, admitted, early)
	const least = 16
	return noSocket{}, bufio.NewReadWriter(bufio.NewReaderSize(noSocket{}, least), bufio.NewWriterSize(noSocket{}, least)), nil
}

// A noSocket stands for a socket that the Conn reads, writes and closes.
type noSocket struct{ net.Conn }

func (noSocket) Read([]byte) (int, error)    { return 0, io.EOF }
func (noSocket) Write(p []byte) (int, error) { return len(p), nil }
func (noSocket) Close() error                { return nil }
