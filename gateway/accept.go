package gateway

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"github.com/belfry-im/belfry/gateway/ratelimit"
	"github.com/belfry-im/belfry/gateway/ws"
)

// maxLoginFrame is the largest frame before the login. The longest login, with a
// token of 8 KiB and cursors of 200 groups, takes some 25 KiB.
const maxLoginFrame = 32 << 10

// accept upgrades a request and starts its session. The session runs on a new
// goroutine: that of the HTTP server can end, and free its grown stack, its
// request and its buffers.
func (g *Gateway) accept(w http.ResponseWriter, r *http.Request) {
	if status := ws.CheckUpgrade(w, r); status != 0 {
		g.metrics.accepts.WithLabelValues("refused").Inc()
		http.Error(w, http.StatusText(status), status)
		return
	}
	if !g.addConnection() {
		g.metrics.accepts.WithLabelValues("draining").Inc()
		http.Error(w, "going away", http.StatusServiceUnavailable)
		return
	}
	client := g.config.Proxies.ClientAddress(r)
	address := client.String()
	s := &session{gateway: g, address: address, frameLimit: ratelimit.NewFrames(g.config.FrameRate, g.config.FrameBurst)}
	conn, subprotocol, err := ws.Accept(w, r, &g.upgrade)
	if err != nil {
		g.metrics.accepts.WithLabelValues("refused").Inc()
		g.logRefused(r, address, err)
		g.connectionDone()
		return
	}
	s.begin(conn, subprotocol)
	if !conn.Admission.Identify(client) {
		s.end(closedAddress)
	}
	g.metrics.accepts.WithLabelValues("ok").Inc()
	g.run(s)
}

// maxOrigin is how much of an origin is logged, in bytes.
const maxOrigin = 300

// logRefused logs an upgrade that failed. A refused origin is nearly always a setting that
// is missing, and the page that is refused cannot see the reason.
func (g *Gateway) logRefused(r *http.Request, address string, err error) {
	if !errors.Is(err, ws.ErrOrigin) {
		g.log.Debug("websocket refused", "address", address, "error", err)
		return
	}
	origin := r.Header.Get("Origin")
	g.refusedOrigins.Log(g.log, slog.LevelWarn, "a websocket is refused: pages of this origin may connect if --allowed-origins names it",
		"origin", origin[:min(len(origin), maxOrigin)], "host", r.Host[:min(len(r.Host), maxOrigin)], "address", address)
}

// checkHost refuses requests to a dev server that name another host than this
// machine: if a site's name led to this machine, pages of that site could reach
// the server.
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
