package ws

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/coder/websocket"

	"github.com/belfry-im/belfry/gateway/admission"
)

// Options configure Accept.
type Options struct {
	Subprotocols []string // supported ones
	Origins      []string // patterns of allowed origins, besides the request's host
	Admission    *admission.Controller
}

// ErrOrigin means that pages of the request's origin may not connect.
var ErrOrigin = errors.New("ws: origin is not allowed")

// Accept upgrades a request and returns the chosen subprotocol, "" for none. If it
// fails, it has answered the request: with 403 if the origin is not allowed, which is
// ErrOrigin, with 400 if the handshake is wrong.
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
		if hijack.status == http.StatusForbidden { // the library has no error for it
			err = fmt.Errorf("%w: %w", ErrOrigin, err)
		}
		return nil, "", err
	}
	subprotocol = shaken.Subprotocol()
	shaken.CloseNow() // only the handshake is used
	return hijack.conn, subprotocol, nil
}

// CheckUpgrade returns 0 if the request asks for a WebSocket. Otherwise it returns the
// status to answer with, and sets the headers for that (RFC 9110, 15.5.6 and 15.5.22;
// RFC 6455, 4.4).
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

// hasToken reports whether a header with a list of tokens has token, in upper or lower
// case.
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

// preferred returns the first offered subprotocol that is supported, or none. The
// client's order is its preference (RFC 6455, 4.1); websocket.Accept would follow the
// server's order.
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

// A hijacker is the ResponseWriter that the library upgrades with. It gives the
// library a noSocket, and keeps the real socket.
type hijacker struct {
	http.ResponseWriter
	admission *admission.Controller
	conn      *Conn // set by Hijack
	status    int   // of the answer; 0 = none is written as yet
}

func (h *hijacker) WriteHeader(status int) {
	h.status = status
	h.ResponseWriter.WriteHeader(status)
}

func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	raw, buf, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	early, _ := buf.Reader.Peek(buf.Reader.Buffered())
	admitted := admission.Of(raw)
	if admitted == nil { // it did not come through a Listener of the controller
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

// A noSocket is a socket for the library that does nothing: the Conn reads, writes and
// closes the real one.
type noSocket struct{ net.Conn }

func (noSocket) Read([]byte) (int, error)    { return 0, io.EOF }
func (noSocket) Write(p []byte) (int, error) { return len(p), nil }
func (noSocket) Close() error                { return nil }
