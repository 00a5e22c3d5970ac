package gateway

import (
	"net/http"
	"net/http/pprof"
	"runtime"
	"strconv"
	"sync"
)

const (
	// blockRate and mutexRate are how densely waiting is sampled while a profile
	// of it is taken: one event per this many nanoseconds blocked, and one
	// contention out of this many.
	blockRate = 10_000
	mutexRate = 10
	// profileSeconds is how long a profile of waiting takes when its request
	// names no time.
	profileSeconds = 10
)

// A contentionProfile answers /debug/pprof/block or mutex with what happened
// within the seconds that the request names. Sampling costs something all the
// time, so it is on only then.
type contentionProfile struct {
	name    string
	setRate func(int)
	rate    int
	taking  sync.Mutex
}

func profileHandlers() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.Handle("/debug/pprof/block", &contentionProfile{name: "block", setRate: runtime.SetBlockProfileRate, rate: blockRate})
	mux.Handle("/debug/pprof/mutex", &contentionProfile{
		name: "mutex", setRate: func(rate int) { runtime.SetMutexProfileFraction(rate) }, rate: mutexRate,
	})
	return mux
}

func (p *contentionProfile) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !p.taking.TryLock() {
		http.Error(w, "this profile is being taken already", http.StatusConflict)
		return
	}
	defer p.taking.Unlock()
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
