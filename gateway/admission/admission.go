// Package admission decides which connections a node holds, and counts the memory
// that they take.
//
// A connection is counted from when it is accepted until it is closed, and is
// unauthenticated until its user has logged in. What is over a limit is made up for
// by refusing new connections and closing others: unauthenticated ones that have had
// time to log in, the oldest first, then those that do not read, then others.
// Messages never pay for it: the store sets Config.Memory aside for connections.
package admission

import (
	"cmp"
	"log/slog"
	"net"
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
	handshakeCost = 20 << 10 // until it is a WebSocket: the HTTP server's buffers and headers
	sessionCost   = 8 << 10
	tlsCost       = 24 << 10 // more, for as long as it lasts
	// BlockedCost is what it takes more while its peer does not read: two goroutines
	// with grown stacks.
	BlockedCost = 32 << 10

	// unauthenticatedShare is the part of the memory, one in so many, that
	// unauthenticated connections may take.
	unauthenticatedShare = 2
	// reserveShare is the part of the memory, one in so many, that is kept for new
	// connections. When it is touched memory is low: requests that would take more
	// are refused, and sessions that do not read are closed until twice as much is
	// free.
	reserveShare = 8

	// LoginGrace is how long a connection has to log in before it may be closed for
	// the sake of a new one. A device needs a few round trips.
	LoginGrace = time.Second
	// maxSurplus is how many connections over the limits of their address are
	// admitted, so that they can be told why they are closed. More are closed at once.
	maxSurplus = 64

	reclaimEvery = 10 * time.Millisecond  // while memory is over its limit
	reserveEvery = 100 * time.Millisecond // while it is low
	logEvery     = 10 * time.Second       // of one kind
)

// A Config bounds the connections of a node. 0 is no limit.
type Config struct {
	Memory                 int64 // bytes that all connections may take
	Connections            int   // open at a time, sessions or not
	Unauthenticated        int   // of them without a login
	AddressUnauthenticated int   // the same, of one address
	AddressConnections     int   // open connections of one address
	AddressRate            int   // new connections per second and address
}

// A Controller admits connections and owns their memory and descriptors.
type Controller struct {
	config  Config
	proxies Proxies
	rates   *ratelimit.Keyed // by address
	log     *slog.Logger
	refused *prometheus.CounterVec // by reason
	evicted *prometheus.CounterVec // by reason

	used                atomic.Int64 // bytes, of all
	unauthenticatedUsed atomic.Int64 // bytes, of those without a login
	closing             atomic.Int64 // bytes, of those that were evicted and are not closed yet
	reclaiming          atomic.Bool
	reserving           atomic.Bool

	mu              sync.Mutex
	all             map[*Conn]struct{}
	unauthenticated connList // oldest first
	surplus         int
	addresses       map[string]*addressCount
	logged          map[string]time.Time // by what was logged
}

type addressCount struct{ open, unauthenticated int }

// New returns a controller, which registers its metrics. Connections of proxies count
// for the addresses of their clients.
func New(c Config, proxies Proxies, log *slog.Logger, r prometheus.Registerer) *Controller {
	a := &Controller{
		proxies:   proxies,
		config:    c,
		rates:     ratelimit.NewKeyed(rate.Limit(c.AddressRate), max(c.AddressRate, 1)),
		log:       log,
		all:       make(map[*Conn]struct{}),
		addresses: make(map[string]*addressCount),
		logged:    make(map[string]time.Time),
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
		"connection_memory_bytes":       {"Memory that connections take, sessions or not.", func() float64 { return float64(a.Used()) }},
		"connection_memory_limit_bytes": {"Memory that connections may take; 0 = no limit.", func() float64 { return float64(c.Memory) }},
		"sockets":                       {"Connections to the clients' listener, WebSockets or not.", func() float64 { return float64(a.count()) }},
		"unauthenticated":               {"Connections that have not logged in.", func() float64 { return float64(a.unauthenticatedCount()) }},
	} {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "belfry", Subsystem: "gateway", Name: name, Help: g.help}, g.value))
	}
	return a
}

func (a *Controller) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.all)
}

func (a *Controller) unauthenticatedCount() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.unauthenticated.n
}

// Used returns how many bytes all connections take.
func (a *Controller) Used() int64 { return a.used.Load() }

// Reasons to refuse or evict a connection, as the metrics have them.
const (
	forConnections           = "connections"
	forUnauthenticated       = "unauthenticated"
	forAddress               = "address"
	ForMemory                = "memory"
	forUnauthenticatedMemory = "unauthenticated memory"
)

// Admit returns the admitted socket, or nil if there is no room: then the caller
// closes it. address is what limits count it by, "" if that is known only once a
// proxy has said for whom it connects: see Identify.
func (a *Controller) Admit(socket net.Conn, address string, tls bool) *Conn {
	c := &Conn{Conn: socket, controller: a, tls: tls, since: time.Now(), unauthenticated: true}
	a.mu.Lock()
	defer a.mu.Unlock()
	if reason := a.makeRoom(c.since, address); reason != "" {
		a.refuse(reason, address)
		return nil
	}
	if address != "" && !a.countAddress(c, address) {
		a.refuse(forAddress, address)
		if a.surplus >= maxSurplus {
			return nil
		}
		c.surplus = true
		a.surplus++
	}
	a.all[c] = struct{}{}
	a.unauthenticated.push(c)
	c.Charge(c.fixedCost(handshakeCost))
	return c
}

// makeRoom makes room for one more connection of an address and returns "", or the
// limit that is reached. For the new connection it may evict the oldest
// unauthenticated one: after LoginGrace, or at once if the address of that one has
// more of them. The caller holds mu.
func (a *Controller) makeRoom(now time.Time, address string) string {
	reason := ""
	limits := &a.config
	switch {
	case limits.Connections > 0 && len(a.all) >= limits.Connections:
		reason = forConnections
	case limits.Unauthenticated > 0 && a.unauthenticated.n >= limits.Unauthenticated:
		reason = forUnauthenticated
	case limits.Memory > 0 && a.unauthenticatedUsed.Load()+handshakeCost > limits.Memory/unauthenticatedShare:
		reason = forUnauthenticatedMemory
	case limits.Memory > 0 && a.used.Load()+handshakeCost > limits.Memory:
		reason = ForMemory
	default:
		return ""
	}
	oldest := a.unauthenticated.first
	if oldest == nil || now.Sub(oldest.since) < LoginGrace && !a.outnumbers(oldest.address, address) {
		return reason
	}
	a.evict(oldest, reason)
	return ""
}

// outnumbers reports whether an address has more unauthenticated connections than
// another one would have with one more. The caller holds mu.
func (a *Controller) outnumbers(address, other string) bool {
	n, m := a.addresses[address], a.addresses[other]
	return n != nil && other != "" && n.unauthenticated > 1 && (m == nil || m.unauthenticated+1 < n.unauthenticated)
}

// countAddress counts a connection for its address. It reports false if that has too
// many. The caller holds mu.
func (a *Controller) countAddress(c *Conn, address string) bool {
	if _, ok := a.rates.Allow(address); !ok {
		return false
	}
	n := a.addresses[address]
	if n == nil {
		n = new(addressCount)
	}
	limits := &a.config
	if limits.AddressConnections > 0 && n.open >= limits.AddressConnections ||
		limits.AddressUnauthenticated > 0 && n.unauthenticated >= limits.AddressUnauthenticated {
		return false
	}
	a.addresses[address] = n
	c.address = address
	n.open++
	n.unauthenticated++
	return true
}

// removeUnauthenticated removes a connection from those without a login. The caller
// holds mu.
func (a *Controller) removeUnauthenticated(c *Conn) {
	a.unauthenticated.remove(c)
	if n := a.addresses[c.address]; n != nil {
		n.unauthenticated--
	}
}

// evict closes a connection, on another goroutine, and returns what it takes. The
// caller holds mu.
func (a *Controller) evict(c *Conn, reason string) int64 {
	a.evicted.WithLabelValues(reason).Inc()
	a.logLimit(reason, "connections have to give way", c.address)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unauthenticated {
		a.removeUnauthenticated(c)
	}
	c.evicted = c.charged
	a.closing.Add(c.evicted)
	if c.evict != nil {
		go c.evict(reason)
	} else {
		go c.Close()
	}
	return c.charged
}

// refuse counts a connection that is not admitted. The caller holds mu.
func (a *Controller) refuse(reason, address string) {
	a.refused.WithLabelValues(reason).Inc()
	a.logLimit(reason, "connections are refused", address)
}

// logLimit logs that a limit is reached, at most once in logEvery. The caller holds
// mu.
func (a *Controller) logLimit(reason, what, address string) {
	now := time.Now()
	if key := what + reason; now.Sub(a.logged[key]) >= logEvery {
		a.logged[key] = now
		a.log.Warn(what, "limit", reason, "address", address, "sockets", len(a.all), "unauthenticated", a.unauthenticated.n,
			"memory", a.used.Load(), "memory_limit", a.config.Memory)
	}
}

// MemoryLow reports whether connections take so much memory that requests which need
// more should be refused.
func (a *Controller) MemoryLow() bool {
	return a.config.Memory > 0 && a.used.Load() > a.lowFrom()
}

func (a *Controller) lowFrom() int64 { return a.config.Memory - a.config.Memory/reserveShare }

// reclaim closes connections until those that are left are within the memory.
func (a *Controller) reclaim() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if over := a.used.Load() - a.closing.Load() - a.config.Memory; over > 0 {
		over -= a.closeUnauthenticated(over, time.Now().Add(-LoginGrace))
		over -= a.closeLargest(over, true)
		over -= a.closeUnauthenticated(over, time.Now())
		a.closeLargest(over, false)
	}
	if a.used.Load() > a.config.Memory {
		time.AfterFunc(reclaimEvery, a.reclaim)
		return
	}
	a.reclaiming.Store(false)
	// A charge that came just before that has left it to this call.
	if a.used.Load() > a.config.Memory && a.reclaiming.CompareAndSwap(false, true) {
		time.AfterFunc(reclaimEvery, a.reclaim)
	}
}

// reserve closes sessions that do not read while memory is low.
func (a *Controller) reserve() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if over := a.used.Load() - a.closing.Load() - a.lowFrom(); over > 0 {
		a.closeLargest(over+a.config.Memory/reserveShare, true)
	}
	if a.MemoryLow() {
		time.AfterFunc(reserveEvery, a.reserve)
		return
	}
	a.reserving.Store(false)
	if a.MemoryLow() && a.reserving.CompareAndSwap(false, true) { // likewise
		time.AfterFunc(reserveEvery, a.reserve)
	}
}

// closeUnauthenticated closes unauthenticated connections that take n bytes in all, if
// there are as many that were accepted by a time, the oldest first. It returns what
// they take. The caller holds mu.
func (a *Controller) closeUnauthenticated(n int64, by time.Time) (freed int64) {
	for c := a.unauthenticated.first; c != nil && freed < n && !c.since.After(by); c = a.unauthenticated.first {
		freed += a.evict(c, ForMemory)
	}
	return freed
}

// closeLargest closes sessions that take n bytes in all, if there are as many, those
// that take most first; with onlyBlocked only those that have not read for a while. It
// returns what they take. The caller holds mu.
func (a *Controller) closeLargest(n int64, onlyBlocked bool) (freed int64) {
	if n <= 0 {
		return 0
	}
	type usage struct {
		conn  *Conn
		bytes int64
	}
	var usages []usage
	since := time.Now().Add(-LoginGrace).UnixNano()
	for c := range a.all {
		blocked := c.blocked.Load()
		if onlyBlocked && (blocked == 0 || blocked > since) {
			continue
		}
		c.mu.Lock()
		if c.evicted == 0 && c.charged > c.fixedCost(sessionCost) {
			usages = append(usages, usage{c, c.charged})
		}
		c.mu.Unlock()
	}
	slices.SortFunc(usages, func(x, y usage) int { return cmp.Compare(y.bytes, x.bytes) })
	for i := 0; i < len(usages) && freed < n; i++ {
		freed += a.evict(usages[i].conn, ForMemory)
	}
	return freed
}
