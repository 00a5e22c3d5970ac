package gateway

import (
	"cmp"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/belfry-im/belfry/gateway/ratelimit"
)

// What a connection takes beside what it holds: its goroutines' stacks, the
// server's or the session's state, the socket's. Measured with BenchmarkIdle and
// `belfry load siege`; docs/design.md adds them up.
const (
	handshakeCost = 20 << 10 // until it is a session: the HTTP server's buffers and headers
	sessionCost   = 8 << 10
	tlsCost       = 24 << 10 // more, for as long as it lasts
	blockedCost   = 32 << 10 // more, while its peer does not read: two goroutines with grown stacks

	// strangerShare is the part of the memory that connections without a login
	// may take, one in so many: the rest is for users.
	strangerShare = 2
	// tightShare is the part of the memory, one in so many, that is kept for who comes:
	// when it is touched, requests are refused that would take more, and sessions
	// closed that do not read, until twice as much is free.
	tightShare = 8

	// strangerGrace is how long a connection has to log in before it has to give
	// way to a new one. A device needs a few round trips, whoever fills the place
	// wants to keep it.
	strangerGrace = time.Second
	// maxSurplus is how many connections over the limits of their address are let
	// in to be told why they are closed. More are closed at once.
	maxSurplus = 64

	relieveEvery  = 10 * time.Millisecond  // while memory is over its limit
	thinEvery     = 100 * time.Millisecond // while it is tight
	complainEvery = 10 * time.Second       // in the log, of one kind
)

// deafPause is how long a user whose session was closed for memory has to wait for
// the next login: it would have to be told all over again what was not read.
const deafPause = 5 * time.Second

// tightRetryAfter is told to whose requests are refused meanwhile.
const tightRetryAfter = time.Second

// An AdmissionConfig bounds the connections of a node. 0 is no limit.
type AdmissionConfig struct {
	Memory                 int64 // bytes that all connections may take
	Connections            int   // open at a time, sessions or not
	Unauthenticated        int   // of them without a login
	AddressUnauthenticated int   // the same, of one address
	AddressConnections     int   // open connections of one address
	AddressRate            int   // new connections per second and address
}

// An admission decides which connections a node holds, and owns their memory and
// descriptors. A connection is counted from when it is accepted, with what it
// takes as long as it lasts, and until it has logged in it is a stranger. What is
// too much is spent by refusing what is new and closing: strangers that have had time
// to log in, the oldest first, then sessions that do not read, then others. Messages
// never pay for it: the store sets AdmissionConfig.Memory aside for connections.
type admission struct {
	config  AdmissionConfig
	rates   *ratelimit.Keyed // by address
	log     *slog.Logger
	refused *prometheus.CounterVec // by reason
	evicted *prometheus.CounterVec // by reason

	used          atomic.Int64 // bytes, of all
	strangersUsed atomic.Int64 // bytes, of those without a login
	leaving       atomic.Int64 // bytes, of those that were evicted and have not let go yet
	relieving     atomic.Bool
	thinning      atomic.Bool

	mu         sync.Mutex
	all        map[*place]struct{}
	strangers  placeList // oldest first
	surplus    int
	addresses  map[string]*addressCount
	complained map[string]time.Time // by reason
}

type addressCount struct{ open, strangers int }

// A place is what an admission knows of a connection.
//
// Lock order: admission.mu, place.mu.
type place struct {
	admission *admission
	tls       bool
	since     time.Time
	surplus   bool // over its address's limits: only there to be told so

	// Guarded by admission.mu.
	address    string // that limits count by; "" as long as it is not known
	close      func(why string)
	evicted    int64  // bytes that it held when it had to give way
	prev, next *place // among strangers

	blocked atomic.Int64 // since when its peer has taken no bytes, Unix ns; 0: it does

	mu       sync.Mutex
	charged  int64 // bytes
	stranger bool  // and so in admission.strangers, unless it had to give way
	gone     bool
}

func newAdmission(c AdmissionConfig, log *slog.Logger, r prometheus.Registerer) *admission {
	a := &admission{
		config:     c,
		rates:      ratelimit.NewKeyed(rate.Limit(c.AddressRate), max(c.AddressRate, 1)),
		log:        log,
		all:        make(map[*place]struct{}),
		addresses:  make(map[string]*addressCount),
		complained: make(map[string]time.Time),
	}
	counter := func(name, help string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "belfry", Subsystem: "gateway", Name: name, Help: help}, []string{"reason"})
		r.MustRegister(v)
		return v
	}
	a.refused = counter("connections_refused_total", "Connections that were closed when they came, by reason.")
	a.evicted = counter("connections_evicted_total", "Connections that had to give way, by reason.")
	for name, g := range map[string]struct {
		help  string
		value func() float64
	}{
		"connection_memory_bytes":       {"Memory that connections take, sessions or not.", func() float64 { return float64(a.used.Load()) }},
		"connection_memory_limit_bytes": {"Memory that connections may take; 0 = no limit.", func() float64 { return float64(c.Memory) }},
		"sockets":                       {"Connections to the clients' listener, WebSockets or not.", func() float64 { return float64(a.count()) }},
		"unauthenticated":               {"Connections that have not logged in.", func() float64 { return float64(a.strangerCount()) }},
	} {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "belfry", Subsystem: "gateway", Name: name, Help: g.help}, g.value))
	}
	return a
}

func (a *admission) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.all)
}

func (a *admission) strangerCount() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.strangers.n
}

// Reasons to refuse or evict a connection, as the metrics have them.
const (
	forConnections    = "connections"
	forStrangers      = "unauthenticated"
	forAddress        = "address"
	forMemory         = "memory"
	forStrangerMemory = "unauthenticated memory"
)

// enter takes a connection in, which close ends when it has to give way, or gives
// nil: then it is to be closed. address is "" when a proxy is to say yet who it is
// for.
func (a *admission) enter(address string, tls bool, close func(why string)) *place {
	p := &place{admission: a, tls: tls, since: time.Now(), close: close, stranger: true}
	a.mu.Lock()
	defer a.mu.Unlock()
	if why := a.makeRoom(p.since, address); why != "" {
		a.refuse(why, address)
		return nil
	}
	if address != "" && !a.enroll(p, address) {
		a.refuse(forAddress, address)
		if a.surplus >= maxSurplus {
			return nil
		}
		p.surplus = true
		a.surplus++
	}
	a.all[p] = struct{}{}
	a.strangers.push(p)
	p.charge(p.fixedCost(handshakeCost))
	return p
}

// makeRoom looks for room for one more, for which the oldest stranger may have
// to give way: after a grace, or at once if its address has more strangers than the
// new one's. It returns why there is none. The caller holds mu.
func (a *admission) makeRoom(now time.Time, address string) string {
	why := ""
	c := &a.config
	switch {
	case c.Connections > 0 && len(a.all) >= c.Connections:
		why = forConnections
	case c.Unauthenticated > 0 && a.strangers.n >= c.Unauthenticated:
		why = forStrangers
	case c.Memory > 0 && a.strangersUsed.Load()+handshakeCost > c.Memory/strangerShare:
		why = forStrangerMemory
	case c.Memory > 0 && a.used.Load()+handshakeCost > c.Memory:
		why = forMemory
	default:
		return ""
	}
	oldest := a.strangers.first
	if oldest == nil || now.Sub(oldest.since) < strangerGrace && !a.crowds(oldest.address, address) {
		return why
	}
	a.evict(oldest, why)
	return ""
}

// crowds reports whether an address has more strangers than another one with its
// next. The caller holds mu.
func (a *admission) crowds(address, other string) bool {
	n, m := a.addresses[address], a.addresses[other]
	return n != nil && other != "" && n.strangers > 1 && (m == nil || m.strangers+1 < n.strangers)
}

// enroll counts a connection for its address, unless that has too many. The
// caller holds mu.
func (a *admission) enroll(p *place, address string) bool {
	if _, ok := a.rates.Allow(address); !ok {
		return false
	}
	n := a.addresses[address]
	if n == nil {
		n = new(addressCount)
	}
	c := &a.config
	if c.AddressConnections > 0 && n.open >= c.AddressConnections ||
		c.AddressUnauthenticated > 0 && n.strangers >= c.AddressUnauthenticated {
		return false
	}
	a.addresses[address] = n
	p.address = address
	n.open++
	n.strangers++
	return true
}

// resolve says for whom a connection is that a proxy has made. It reports false
// when its address has too many.
func (p *place) resolve(address string) bool {
	a := p.admission
	a.mu.Lock()
	defer a.mu.Unlock()
	if p.surplus || p.address != "" {
		return !p.surplus
	}
	if p.isGone() || !a.enroll(p, address) {
		a.refuse(forAddress, address)
		return false
	}
	return true
}

func (p *place) isGone() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gone
}

// upgrade notes that a connection is a session now, which close ends.
func (p *place) upgrade(close func(why string)) {
	p.admission.mu.Lock()
	p.close = close
	p.admission.mu.Unlock()
	p.charge(sessionCost - handshakeCost)
}

// login notes that a connection is a user's.
func (p *place) login() {
	a := p.admission
	a.mu.Lock()
	defer a.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone || p.evicted != 0 || !p.stranger {
		return
	}
	a.forgetStranger(p)
	p.stranger = false
	a.strangersUsed.Add(-p.charged)
}

// leave forgets a connection and what it held. It may be called again.
func (p *place) leave() {
	a := p.admission
	a.mu.Lock()
	defer a.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return
	}
	p.gone = true
	a.used.Add(-p.charged)
	a.leaving.Add(-p.evicted)
	if p.stranger {
		a.strangersUsed.Add(-p.charged)
	}
	delete(a.all, p)
	if p.surplus {
		a.surplus--
	}
	if p.stranger && p.evicted == 0 {
		a.forgetStranger(p)
	}
	if n := a.addresses[p.address]; n != nil {
		if n.open--; n.open == 0 {
			delete(a.addresses, p.address)
		}
	}
}

// forgetStranger takes a place out of the strangers. The caller holds mu.
func (a *admission) forgetStranger(p *place) {
	a.strangers.remove(p)
	if n := a.addresses[p.address]; n != nil {
		n.strangers--
	}
}

// evict closes a connection for others' sake, and gives what it holds. The
// caller holds mu; what closes it runs without.
func (a *admission) evict(p *place, why string) int64 {
	a.evicted.WithLabelValues(why).Inc()
	a.complain(why, "connections have to give way", p.address)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stranger {
		a.forgetStranger(p)
	}
	p.evicted = p.charged
	a.leaving.Add(p.evicted)
	go p.close(why)
	return p.charged
}

// refuse counts a connection that is not taken. The caller holds mu.
func (a *admission) refuse(why, address string) {
	a.refused.WithLabelValues(why).Inc()
	a.complain(why, "connections are refused", address)
}

// complain logs that something is short, not more often than every some seconds.
// The caller holds mu.
func (a *admission) complain(why, what, address string) {
	now := time.Now()
	if key := what + why; now.Sub(a.complained[key]) >= complainEvery {
		a.complained[key] = now
		a.log.Warn(what, "limit", why, "address", address, "sockets", len(a.all), "unauthenticated", a.strangers.n,
			"memory", a.used.Load(), "memory_limit", a.config.Memory)
	}
}

func (p *place) fixedCost(n int64) int64 {
	if p.tls {
		n += tlsCost
	}
	return n
}

// charge counts n bytes more that the connection takes, or less when n is
// negative. It never fails: what is over the limit is made up for by closing.
func (p *place) charge(n int64) {
	if n == 0 {
		return
	}
	a := p.admission
	p.mu.Lock()
	if p.gone {
		p.mu.Unlock()
		return
	}
	p.charged += n
	if p.stranger {
		a.strangersUsed.Add(n)
	}
	used := a.used.Add(n)
	p.mu.Unlock()
	if n <= 0 || a.config.Memory == 0 {
		return
	}
	if used > a.config.Memory && a.relieving.CompareAndSwap(false, true) {
		go a.relieve()
	}
	if used > a.tightFrom() && a.thinning.CompareAndSwap(false, true) {
		go a.thin()
	}
}

// tight reports whether so much is taken that what would take more is to wait.
func (a *admission) tight() bool {
	return a.config.Memory > 0 && a.used.Load() > a.tightFrom()
}

func (a *admission) tightFrom() int64 { return a.config.Memory - a.config.Memory/tightShare }

// relieve closes connections until those that are left are within their memory.
func (a *admission) relieve() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if over := a.used.Load() - a.leaving.Load() - a.config.Memory; over > 0 {
		over -= a.closeStrangers(over, time.Now().Add(-strangerGrace))
		over -= a.closeHeaviest(over, true)
		over -= a.closeStrangers(over, time.Now())
		a.closeHeaviest(over, false)
	}
	if a.used.Load() > a.config.Memory {
		time.AfterFunc(relieveEvery, a.relieve)
		return
	}
	a.relieving.Store(false)
}

// thin closes sessions that do not read while memory is tight.
func (a *admission) thin() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if over := a.used.Load() - a.leaving.Load() - a.tightFrom(); over > 0 {
		a.closeHeaviest(over+a.config.Memory/tightShare, true)
	}
	if a.tight() {
		time.AfterFunc(thinEvery, a.thin)
		return
	}
	a.thinning.Store(false)
}

// closeStrangers closes strangers that take n bytes, the oldest first, of those that
// came by a time. It returns what they took. The caller holds mu.
func (a *admission) closeStrangers(n int64, by time.Time) (freed int64) {
	for p := a.strangers.first; p != nil && freed < n && !p.since.After(by); p = a.strangers.first {
		freed += a.evict(p, forMemory)
	}
	return freed
}

// closeHeaviest closes sessions that take n bytes, those that take most first: only
// those that have not read for a while, or all. It returns what they took. The
// caller holds mu.
func (a *admission) closeHeaviest(n int64, onlyDeaf bool) (freed int64) {
	if n <= 0 {
		return 0
	}
	type load struct {
		place *place
		bytes int64
	}
	var loads []load
	since := time.Now().Add(-strangerGrace).UnixNano()
	for p := range a.all {
		blocked := p.blocked.Load()
		if onlyDeaf && (blocked == 0 || blocked > since) {
			continue
		}
		p.mu.Lock()
		if p.evicted == 0 && p.charged > p.fixedCost(sessionCost) {
			loads = append(loads, load{p, p.charged})
		}
		p.mu.Unlock()
	}
	slices.SortFunc(loads, func(x, y load) int { return cmp.Compare(y.bytes, x.bytes) })
	for i := 0; i < len(loads) && freed < n; i++ {
		freed += a.evict(loads[i].place, forMemory)
	}
	return freed
}

// A placeList is a list of places, linked through them.
type placeList struct {
	first, last *place
	n           int
}

func (l *placeList) push(p *place) {
	p.prev, p.next = l.last, nil
	if l.last == nil {
		l.first = p
	} else {
		l.last.next = p
	}
	l.last = p
	l.n++
}

func (l *placeList) remove(p *place) {
	if p.prev == nil {
		l.first = p.next
	} else {
		p.prev.next = p.next
	}
	if p.next == nil {
		l.last = p.prev
	} else {
		p.next.prev = p.prev
	}
	p.prev, p.next = nil, nil
	l.n--
}
