package gateway

import (
	"encoding/json"
	"net/http"
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
