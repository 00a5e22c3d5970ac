package gateway

import (
	"fmt"
	"net/http"
	"net/http/pprof"
	"runtime"
	"strconv"
	"sync"
)

const (
	// blockRate and mutexRate are the rates at which waiting is sampled for a profile:
	// one event per this many nanoseconds blocked, and one of this many contentions.
	blockRate = 10_000
	mutexRate = 10
	// profileSeconds is the length of a profile of waiting if the request names none.
	profileSeconds = 10
	// maxProfileSeconds is the longest that a profile may take: of some kinds only one
	// can be taken at a time.
	maxProfileSeconds = 60
)

// A contentionProfile serves /debug/pprof/block or mutex. It samples only while a request
// is served, since sampling has a cost, and answers with what happened meanwhile.
type contentionProfile struct {
	name    string
	setRate func(int)
	rate    int
}

func profileHandlers() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	// The command line may hold passwords, which scope read must not reveal.
	mux.Handle("/debug/pprof/cmdline", http.NotFoundHandler())
	mux.Handle("/debug/pprof/profile", &oneAtATime{handler: http.HandlerFunc(pprof.Profile)})
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.Handle("/debug/pprof/trace", &oneAtATime{handler: http.HandlerFunc(pprof.Trace)})
	mux.Handle("/debug/pprof/block", &oneAtATime{handler: &contentionProfile{name: "block", setRate: runtime.SetBlockProfileRate, rate: blockRate}})
	mux.Handle("/debug/pprof/mutex", &oneAtATime{handler: &contentionProfile{
		name: "mutex", setRate: func(rate int) { runtime.SetMutexProfileFraction(rate) }, rate: mutexRate,
	}})
	return boundedSeconds(mux)
}

// boundedSeconds refuses requests for profiles longer than maxProfileSeconds.
func boundedSeconds(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if text := r.URL.Query().Get("seconds"); text != "" {
			if seconds, err := strconv.ParseFloat(text, 64); err != nil || !(seconds > 0 && seconds <= maxProfileSeconds) {
				http.Error(w, fmt.Sprintf("seconds: must be above 0, and at most %d", maxProfileSeconds), http.StatusBadRequest)
				return
			}
		}
		h.ServeHTTP(w, r)
	})
}

// oneAtATime refuses a request while it serves another.
type oneAtATime struct {
	handler http.Handler
	taking  sync.Mutex
}

func (p *oneAtATime) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !p.taking.TryLock() {
		http.Error(w, "this profile is being taken already", http.StatusConflict)
		return
	}
	defer p.taking.Unlock()
	p.handler.ServeHTTP(w, r)
}

func (p *contentionProfile) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if query.Get("seconds") == "" {
		query.Set("seconds", strconv.Itoa(profileSeconds))
		r = r.Clone(r.Context())
		r.URL.RawQuery = query.Encode()
	}
	p.setRate(p.rate)
	defer p.setRate(0)
	pprof.Handler(p.name).ServeHTTP(w, r)
}
