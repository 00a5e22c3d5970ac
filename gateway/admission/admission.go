// Package admission decides which connections a node holds, and counts the memory
// that they take.
//
// A connection counts from when it is accepted until it is closed, and is
// unauthenticated until its user has logged in. At a limit, new connections are
// refused and others closed: first unauthenticated ones that have had time to log in,
// the oldest first, then those whose peers do not read, then others. Connections take
// no memory from messages: the store sets Config.Memory aside for them.
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

// What a connection takes besides the bytes it holds: the stacks of its goroutines,
// and the state of the server or the session and of the socket. Measured with
// BenchmarkIdle and `belfry load siege`; docs/design.md adds them up.
const (
	handshakeCost = 20 << 10 // until it is a WebSocket: the HTTP server's buffers and headers
	sessionCost   = 8 << 10
	tlsCost       = 24 << 10 // in addition, as long as the connection is open
	// BlockedCost is what a connection takes in addition while its peer does not read:
	// two goroutines with grown stacks.
	BlockedCost = 32 << 10

	// unauthenticatedShare is the divisor of Memory for unauthenticated connections:
	// they may take half of it.
	unauthenticatedShare = 2
	// reserveShare is the divisor of Memory for the reserve, which is kept for new
	// connections. Once the reserve is touched memory is low: requests that need more
	// are refused, and sessions that do not read are closed until twice the reserve is
	// free.
	reserveShare = 8

	// LoginGrace is how long a connection has to log in before it may be closed in
	// favour of a new one. A device needs a few round trips.
	LoginGrace = time.Second
	// maxSurplus is how many connections over the limits of their addresses are
	// admitted, to be closed with a reason. Further ones are closed at once.
	maxSurplus = 64

	reclaimEvery = 10 * time.Millisecond  // how often reclaim runs while memory is over its limit
	reserveEvery = 100 * time.Millisecond // how often reserve runs while memory is low
	logEvery     = 10 * time.Second       // how often the same limit is logged
)

// A Config bounds the connections of a node. 0 is no limit.
type Config struct {
	Memory                 int64 // bytes that all connections may take
	Connections            int   // open at a time, with or without a login
	Unauthenticated        int   // open at a time, without a login
	AddressUnauthenticated int   // open at a time, without a login, of one address
	AddressConnections     int   // open at a time, of one address
	AddressRate            int   // new connections per second and address
}

// A Controller decides which connections are admitted, and counts their memory and
// descriptors.
type Controller struct {
	config    Config
	proxies   Proxies
	rates     *ratelimit.Keyed // of new connections, by address
	log       *slog.Logger
	refused   *prometheus.CounterVec // by reason
	displaced *prometheus.CounterVec // by reason

	used                atomic.Int64 // bytes, of all
	unauthenticatedUsed atomic.Int64 // bytes, of those without a login
	closing             atomic.Int64 // bytes, of those that were displaced but are not closed yet
	reclaiming          atomic.Bool
	reserving           atomic.Bool

	mu              sync.Mutex
	all             map[*Conn]struct{}
	unauthenticated connList // oldest first
	surplus         int
	addresses       map[string]*addressCount
	logged          map[string]time.Time // when each limit was last logged
}

type addressCount struct{ open, unauthenticated int }

// New returns a controller and registers its metrics. A connection that comes through
// a trusted proxy counts for the address of its client.
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
	a.displaced = counter("connections_evicted_total", "Connections that had to give way, by reason.")
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

// Reasons to refuse or displace a connection, which are also labels of metrics.
const (
	forConnections           = "connections"
	forUnauthenticated       = "unauthenticated"
	forAddress               = "address"
	ForMemory                = "memory"
	forUnauthenticatedMemory = "unauthenticated memory"
)

// Admit returns the connection of a socket, or nil if there is no room; then the
// caller closes the socket. address is the one that limits count, "" if a proxy has
// yet to name the client: see Identify.
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

// makeRoom checks the limits for one more connection of an address. It returns "", or
// the limit that is reached. At a limit it may displace the oldest unauthenticated
// connection in favour of the new one: if that is older than LoginGrace, or if its
// address has more unauthenticated connections. The caller holds mu.
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
	a.displace(oldest, reason)
	return ""
}

// outnumbers reports whether address has more unauthenticated connections than other
// would have with one more. The caller holds mu.
func (a *Controller) outnumbers(address, other string) bool {
	n, m := a.addresses[address], a.addresses[other]
	return n != nil && other != "" && n.unauthenticated > 1 && (m == nil || m.unauthenticated+1 < n.unauthenticated)
}

// countAddress counts a connection for its address. It reports false, and counts
// nothing, if the address has too many. The caller holds mu.
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

// removeUnauthenticated ends the counting of a connection as unauthenticated. The
// caller holds mu.
func (a *Controller) removeUnauthenticated(c *Conn) {
	a.unauthenticated.remove(c)
	if n := a.addresses[c.address]; n != nil {
		n.unauthenticated--
	}
}

// displace closes a connection on another goroutine, and returns how many bytes that will
// free. The caller holds mu.
func (a *Controller) displace(c *Conn, reason string) int64 {
	a.displaced.WithLabelValues(reason).Inc()
	a.logLimit(reason, "connections have to give way", c.address)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unauthenticated {
		a.removeUnauthenticated(c)
	}
	c.displacedBytes = c.charged
	a.closing.Add(c.displacedBytes)
	if c.displace != nil {
		go c.displace(reason)
	} else {
		go c.Close()
	}
	return c.charged
}

// refuse counts and logs a connection that is not admitted. The caller holds mu.
func (a *Controller) refuse(reason, address string) {
	a.refused.WithLabelValues(reason).Inc()
	a.logLimit(reason, "connections are refused", address)
}

// logLimit logs that a limit is reached, at most once in logEvery for each limit. The
// caller holds mu.
func (a *Controller) logLimit(reason, what, address string) {
	now := time.Now()
	if key := what + reason; now.Sub(a.logged[key]) >= logEvery {
		a.logged[key] = now
		a.log.Warn(what, "limit", reason, "address", address, "sockets", len(a.all), "unauthenticated", a.unauthenticated.n,
			"memory", a.used.Load(), "memory_limit", a.config.Memory)
	}
}

// MemoryLow reports whether connections take so much memory that requests which need
// more are to be refused.
func (a *Controller) MemoryLow() bool {
	return a.config.Memory > 0 && a.used.Load() > a.lowFrom()
}

func (a *Controller) lowFrom() int64 { return a.config.Memory - a.config.Memory/reserveShare }

// reclaim closes connections until the others are within Config.Memory.
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
	// A Charge just before that has started no reclaim: check again.
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
	if a.MemoryLow() && a.reserving.CompareAndSwap(false, true) { // as in reclaim
		time.AfterFunc(reserveEvery, a.reserve)
	}
}

// closeUnauthenticated closes unauthenticated connections that were accepted at by or
// before, the oldest first, until they free n bytes or none is left. It returns how
// many bytes they free. The caller holds mu.
func (a *Controller) closeUnauthenticated(n int64, by time.Time) (freed int64) {
	for c := a.unauthenticated.first; c != nil && freed < n && !c.since.After(by); c = a.unauthenticated.first {
		freed += a.displace(c, ForMemory)
	}
	return freed
}

// closeLargest closes sessions, those that take most first, until they free n bytes or
// none is left. With onlyBlocked it closes only sessions whose peers have not read for
// LoginGrace. It returns how many bytes they free. The caller holds mu.
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
		if c.displacedBytes == 0 && c.charged > c.fixedCost(sessionCost) {
			usages = append(usages, usage{c, c.charged})
		}
		c.mu.Unlock()
	}
	slices.SortFunc(usages, func(x, y usage) int { return cmp.Compare(y.bytes, x.bytes) })
	for i := 0; i < len(usages) && freed < n; i++ {
		freed += a.displace(usages[i].conn, ForMemory)
	}
	return freed
}
