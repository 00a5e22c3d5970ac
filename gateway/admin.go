package gateway

import (
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/belfry-im/belfry/gateway/admin"
)

// OperatorPath is where the operator page is on the operations listener.
const OperatorPath = "/operator/"

// AdminHandler serves the operations listener: /healthz and /readyz and the operator page,
// which itself knows nothing, to anyone, /safe-to-stop to callers on this machine, /metrics and /debug/pprof/ to administrators,
// and what Config.Administration serves.
func (g *Gateway) AdminHandler() http.Handler {
	operations := http.NewServeMux()
	operations.Handle("GET /metrics", promhttp.HandlerFor(g.registry, promhttp.HandlerOpts{}))
	profiles := profileHandlers()
	operations.Handle("GET /debug/pprof/", profiles)
	operations.Handle("POST /debug/pprof/symbol", profiles) // the addresses come in the body
	health := http.NewServeMux()
	health.HandleFunc("GET /healthz", g.healthz)
	health.HandleFunc("GET /readyz", g.readyz)
	health.HandleFunc("GET /safe-to-stop", g.safeToStop)

	// These paths have muxes that answer 405 for other methods; in this mux requests
	// with other methods would go to Administration.
	mux := http.NewServeMux()
	mux.Handle("/healthz", health)
	mux.Handle("/readyz", health)
	mux.Handle("/safe-to-stop", health)
	guarded := g.RequireAdmin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A profile takes as long as its request says, whatever the server allows.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
		operations.ServeHTTP(w, r)
	}))
	guarded = ownPages(guarded)
	mux.Handle("/metrics", guarded)
	mux.Handle("/debug/pprof/", guarded)
	nothing := g.RequireAdmin(http.NotFoundHandler())
	mux.Handle("/debug/pprof", nothing) // the mux would redirect it
	if g.config.Administration != nil {
		nothing = g.config.Administration
	}
	mux.Handle("/", nothing)
	if g.config.Operator != nil {
		mux.Handle(OperatorPath, http.StripPrefix(strings.TrimSuffix(OperatorPath, "/"), g.config.Operator))
		toOperator := http.RedirectHandler(OperatorPath, http.StatusTemporaryRedirect)
		mux.Handle("GET "+strings.TrimSuffix(OperatorPath, "/"), toOperator)
		mux.Handle(strings.TrimSuffix(OperatorPath, "/"), nothing) // the mux would redirect other methods too
		mux.Handle("GET /{$}", toOperator)                         // there is nothing else for people here
	}
	return g.checkHost(ExactPaths(mux, nothing))
}

// RequireAdmin returns a handler that passes to next the requests with an admin token
// of scope read. A dev server without admin tokens passes all requests.
func (g *Gateway) RequireAdmin(next http.Handler) http.Handler {
	return g.config.AdminTokens.Require(admin.ScopeRead, next)
}

// ownPages refuses requests from pages of other sites: such pages cannot read the
// answer, but could make a dev server take profiles.
func ownPages(next http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		changing := *r
		changing.Method = http.MethodPost // CrossOriginProtection allows every GET
		if protection.Check(&changing) != nil {
			writeError(w, http.StatusForbidden, "forbidden", "Origin: pages of other sites may not make calls")
			return
		}
		next.ServeHTTP(w, r)
	})
}
