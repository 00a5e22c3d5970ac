package gateway

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"strings"
)

// healthz answers that the process runs. That depends on nothing else: a process that is
// ended for want of a quorum, or while it reads its log, would only begin anew.
func (g *Gateway) healthz(w http.ResponseWriter, _ *http.Request) { writeHealth(w) }

func writeHealth(w http.ResponseWriter) {
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

// Starting returns a handler for the operations listener until there is an AdminHandler,
// as long as the store is being opened: the process runs, and is not ready.
func Starting() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
			writeHealth(w)
			return
		}
		w.Header().Set("Retry-After", "1")
		writeError(w, http.StatusServiceUnavailable, "unavailable", "the server is starting")
	})
}

// readyz answers whether this node should get traffic.
func (g *Gateway) readyz(w http.ResponseWriter, _ *http.Request) {
	if g.draining() {
		writeError(w, http.StatusServiceUnavailable, "unavailable", "going away")
		return
	}
	if err := g.backend.Ready(); err != nil {
		writeError(w, http.StatusServiceUnavailable, "unavailable", err.Error())
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "ready"})
}

// safeToStop answers whether this node may be stopped now: 200 if so, else 503 with the
// reasons. It asks for no token, so that what stops a process beside it, such as a pod's
// preStop hook, needs none; so only callers on this machine get an answer.
func (g *Gateway) safeToStop(w http.ResponseWriter, r *http.Request) {
	if !fromLoopback(r) {
		writeError(w, http.StatusForbidden, "forbidden", "only callers on this machine may ask here; others: /v1/cluster/safe-to-stop")
		return
	}
	if g.config.SafeToStop == nil {
		writeError(w, http.StatusNotFound, "notFound", "this server is not in a cluster")
		return
	}
	reasons, err := g.config.SafeToStop(r.Context())
	switch {
	case err != nil:
		writeError(w, http.StatusServiceUnavailable, "unavailable", err.Error())
	case len(reasons) > 0:
		writeError(w, http.StatusServiceUnavailable, "unsafe", strings.Join(reasons, "; "))
	default:
		writeJSON(w, http.StatusOK, map[string]string{"status": "safe"})
	}
}

// fromLoopback reports whether a request came from this machine, and was not passed on by
// a proxy that says so.
func fromLoopback(r *http.Request) bool {
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Real-Ip"} {
		if r.Header.Get(name) != "" {
			return false
		}
	}
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && at.Addr().Unmap().IsLoopback()
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// An error means that the client is gone.
	_ = json.NewEncoder(w).Encode(v)
}

func writeError(w http.ResponseWriter, status int, code, message string) {
	writeJSON(w, status, map[string]string{"code": code, "message": message})
}
