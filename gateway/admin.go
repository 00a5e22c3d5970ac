package gateway

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// AdminHandler serves the operations listener: /healthz and /readyz to anyone,
// /metrics and /debug/pprof/ to administrators.
func (g *Gateway) AdminHandler() http.Handler {
	operations := http.NewServeMux()
	operations.Handle("GET /metrics", promhttp.HandlerFor(g.registry, promhttp.HandlerOpts{}))
	operations.Handle("/debug/pprof/", profileHandlers())

	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", g.healthz)
	mux.HandleFunc("GET /readyz", g.readyz)
	mux.Handle("/metrics", g.RequireAdmin(operations))
	mux.Handle("/debug/pprof/", g.RequireAdmin(operations))
	return g.checkHost(mux)
}

// RequireAdmin passes on requests that bear an admin token, and all requests of
// a dev server that has none. Others get 401.
func (g *Gateway) RequireAdmin(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !g.isAdmin(r) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="belfry"`)
			writeError(w, http.StatusUnauthorized, "unauthorized", "Authorization: Bearer with an admin token is required")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (g *Gateway) isAdmin(r *http.Request) bool {
	if len(g.adminTokens) == 0 {
		return g.config.Dev
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return false
	}
	// Digests have one length, and all are compared: the time taken tells
	// nothing of the tokens.
	given, good := sha256.Sum256([]byte(token)), 0
	for _, want := range g.adminTokens {
		good |= subtle.ConstantTimeCompare(given[:], want[:])
	}
	return good == 1
}
