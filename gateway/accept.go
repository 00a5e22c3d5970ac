package gateway

import (
	"net"
	"net/http"
	"strings"

	"github.com/coder/websocket"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/gateway/ratelimit"
)

// accept upgrades a request to a session. The session runs on a goroutine of
// its own, so that the server's, with its grown stack, its request and its
// buffers, can go.
func (g *Gateway) accept(w http.ResponseWriter, r *http.Request) {
	if status := noUpgrade(w, r); status != 0 {
		g.metrics.accepts.WithLabelValues("refused").Inc()
		http.Error(w, http.StatusText(status), status)
		return
	}
	if !g.reserve() {
		g.metrics.accepts.WithLabelValues("draining").Inc()
		http.Error(w, "going away", http.StatusServiceUnavailable)
		return
	}
	client := g.clientAddress(r)
	address := client.String()
	s := &session{gateway: g, address: address, limit: ratelimit.NewFrames(g.config.FrameRate, g.config.FrameBurst)}
	hijack := &hijacker{ResponseWriter: w, admission: g.admission}
	ws, err := websocket.Accept(hijack, r, &websocket.AcceptOptions{
		Subprotocols:   preferred(r.Header),
		OriginPatterns: g.config.AllowedOrigins,
	})
	if err != nil {
		// Accept has answered: 403 for a foreign origin, 400 for a bad key.
		g.metrics.accepts.WithLabelValues("refused").Inc()
		g.log.Debug("websocket refused", "address", address, "error", err)
		if hijack.conn != nil {
			hijack.conn.hangUp()
		}
		g.release()
		return
	}
	s.begin(ws, hijack.conn)
	if !hijack.conn.place.resolve(limitKey(client)) {
		s.end(closedAddress)
	}
	g.metrics.accepts.WithLabelValues("ok").Inc()
	g.run(s)
}

// noUpgrade gives the status of a request that asks for no WebSocket of ours, 0
// for one that does, and sets the headers that belong to it (RFC 9110, 15.5.6
// and 15.5.22; RFC 6455, 4.4).
func noUpgrade(w http.ResponseWriter, r *http.Request) (status int) {
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

// hasToken tells whether a header that is a list has token, which is in lower case.
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

// preferred gives the first of the offered subprotocols that the server speaks,
// none if there is none. A client lists them in order of preference (RFC 6455,
// 4.1); websocket.Accept would go by the server's order.
func preferred(h http.Header) []string {
	for _, offered := range h.Values("Sec-WebSocket-Protocol") {
		for name := range strings.SplitSeq(offered, ",") {
			for _, known := range []string{protocol.SubprotocolJSON, protocol.SubprotocolMsgpack} {
				if strings.EqualFold(strings.TrimSpace(name), known) {
					return []string{known}
				}
			}
		}
	}
	return nil
}

// checkHost refuses, on a dev server, requests for any host but this machine: a
// page elsewhere could otherwise reach it under a name of its own.
func (g *Gateway) checkHost(next http.Handler) http.Handler {
	if !g.config.Dev {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLocalHost(r.Host) {
			http.Error(w, "a dev server answers only to 127.0.0.1, localhost and [::1]", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func isLocalHost(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	host = strings.Trim(host, "[]")
	return host == "127.0.0.1" || host == "::1" || strings.EqualFold(host, "localhost")
}
