package gateway

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/belfry-im/belfry/gateway/admin"
)

// AdminHandler serves the operations listener: /healthz and /readyz to anyone,
// /metrics and /debug/pprof/ to administrators, and what Config.Administration
// serves.
func (g *Gateway) AdminHandler() http.Handler {
	operations := http.NewServeMux()
	operations.Handle("GET /metrics", promhttp.HandlerFor(g.registry, promhttp.HandlerOpts{}))
	profiles := profileHandlers()
	operations.Handle("GET /debug/pprof/", profiles)
	operations.Handle("POST /debug/pprof/symbol", profiles) // addresses come in its body
	health := http.NewServeMux()
	health.HandleFunc("GET /healthz", g.healthz)
	health.HandleFunc("GET /readyz", g.readyz)

	// Muxes of their own answer 405 for other methods; in this one those would go to
	// Administration.
	mux := http.NewServeMux()
	mux.Handle("/healthz", health)
	mux.Handle("/readyz", health)
	guarded := g.RequireAdmin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A profile takes as long as its request says, whatever the server allows.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
		operations.ServeHTTP(w, r)
	}))
	guarded = ownPages(guarded)
	mux.Handle("/metrics", guarded)
	mux.Handle("/debug/pprof/", guarded)
	nothing := g.RequireAdmin(http.NotFoundHandler())
	mux.Handle("/debug/pprof", nothing) // which the mux would redirect
	if g.config.Administration != nil {
		nothing = g.config.Administration
	}
	mux.Handle("/", nothing)
	return g.checkHost(ExactPaths(mux, nothing))
}

// RequireAdmin returns a handler that serves requests with an admin token that may read
// and, on a dev server without such tokens, all requests.
func (g *Gateway) RequireAdmin(next http.Handler) http.Handler {
	return g.config.AdminTokens.Require(admin.ScopeRead, next)
}

// ownPages refuses requests from pages of other sites: they cannot read the answer, but
// could have a dev server take a profile.
func ownPages(next http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		changing := *r
		changing.Method = http.MethodPost // the protection allows every GET
		if protection.Check(&changing) != nil {
			writeError(w, http.StatusForbidden, "forbidden", "Origin: pages of other sites may not make calls")
			return
		}
		next.ServeHTTP(w, r)
	})
}
