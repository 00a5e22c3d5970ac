package loadtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/belfry-im/belfry/gateway/protocol"
)

const (
	// attackSources is the number of addresses that an attack comes from by
	// default: as many as a small botnet has.
	attackSources = 250
	// MaxSources is how many addresses of 127.0.0.0/8 an attack can come from.
	MaxSources = 250 * 250
	// attackPatience bounds one step of an attacking connection. One that is
	// refused, or held up for longer, is given up and opened again.
	attackPatience = 10 * time.Second
	// adminParallel is how many calls of the administration are made at a time.
	adminParallel = 4
	// dripEvery is the time between two writes of a connection that wants to be
	// taken for alive.
	dripEvery = 3 * time.Second
)

// An AttackConfig describes an attack on a server, which has to be on this
// machine. Server and Name are needed.
type AttackConfig struct {
	Config
	// Name is one of Attacks. The sockets of strangers and deaf do several things
	// by turns. With the name of one behind a colon, as in deaf:getRecents, all
	// do that.
	Name string
	// Sockets is how many connections are held at a time: when the server ends
	// one, another is opened. 0 = the attack's default.
	Sockets int
	// Rate is how many connections are opened and requests made per second, by
	// all sockets together; 0 = the attack's default.
	Rate int
	// Size is how much is prepared on the server for the attack: messages that
	// are gone, or groups that a user is in; 0 = the attack's default.
	Size int
	// Sources is the number of addresses of 127.0.0.0/8 that the sockets connect
	// from; 0 = 250.
	Sources int
	// Admin calls the administration API with in as JSON. Attacks that need
	// groups or messages on the server prepare them with it.
	Admin func(ctx context.Context, method, path string, in any) error
}

// An AttackReport is what an attack did, as seen from its own side.
type AttackReport struct {
	Name         string `json:"name"`
	Sockets      int    `json:"sockets"` // meant to be held
	Rate         int    `json:"rate"`
	Sources      int    `json:"sources"`
	Opened       int64  `json:"opened"`                 // connections, in all
	MostOpen     int64  `json:"mostOpen"`               // at a time
	Bytes        int64  `json:"bytes"`                  // written, above TLS
	Replies      int64  `json:"replies"`                // to requests, where those are read
	LargestReply int64  `json:"largestReply,omitempty"` // of those, bytes
	// Ends counts the ends of connections, by kind, and the error replies, by
	// code.
	Ends  map[string]int64 `json:"ends"`
	Usage *Usage           `json:"usage,omitempty"` // of this process
}

// An attackKind is one way to attack.
type attackKind struct {
	name          string
	sockets, rate int
	size          int // 0 = nothing is prepared
	turns         []turnKind
	// prepare, unless nil, makes on the server what the attack needs.
	prepare func(context.Context, *Attack) error
	// raid opens a connection of socket n, uses it until it ends, and returns how
	// it ended.
	raid func(ctx context.Context, a *Attack, n int) error
}

// A turnKind is one of the things that the sockets of an attack do by turns.
type turnKind struct {
	name string
	// first returns what is sent at once, and more, unless nil, what is sent
	// every dripEvery after that.
	first, more func(*Attack) []byte
	stage       stage // how far a stranger gets before it sends
}

func turnNames(turns []turnKind) []string {
	names := make([]string, len(turns))
	for i, t := range turns {
		names[i] = t.name
	}
	return names
}

// sameBytes returns a first or more that returns b each time.
func sameBytes(b []byte) func(*Attack) []byte { return func(*Attack) []byte { return b } }

// attackKinds are all attacks, in the order in which a siege goes through them.
var attackKinds = []attackKind{
	{name: "strangers", sockets: 10_000, rate: 1000, turns: strangerTurns, raid: raidStranger},
	{name: "tokens", sockets: 200, rate: 500, raid: raidToken},
	{name: "descriptors", sockets: 3000, rate: 1000, raid: raidSilent},
	{name: "deaf", sockets: 1000, rate: 500, size: 200, turns: deafTurns, prepare: prepareDeaf, raid: raidDeaf},
	{name: "presence", sockets: 16, rate: 2000, size: 1000, prepare: preparePresence, raid: raidPresence},
	{name: "gaps", sockets: 16, rate: 2000, size: 16_000, prepare: prepareGaps, raid: raidGaps},
	{name: "invented", sockets: 10, rate: 1000, raid: raidInvented},
}

// Attacks returns the names of all attacks, in the order in which a siege goes
// through them:
//
//   - strangers: connections without login that each hold as much as they are let:
//     unfinished frames and messages, half a ping, many fragments, half a request,
//     half a TLS handshake
//   - tokens: logins with badly signed tokens, as long as a frame can be
//   - descriptors: connections that never become a WebSocket
//   - deaf: sessions that ask for much and read none of it, or never end a frame
//   - presence: a user in 1,000 groups asks for 100 users in 1,000 others
//   - gaps: a user asks for a page over 16,000 messages that are gone, each next
//     to one that is gone for another reason
//   - invented: users make groups of members who do not exist, and block them
func Attacks() []string {
	names := make([]string, len(attackKinds))
	for i, k := range attackKinds {
		names[i] = k.name
	}
	return names
}

// An Attack is a prepared attack. It can be run once.
type Attack struct {
	*run
	config AttackConfig
	kind   attackKind
	url    *url.URL
	pace   *rate.Limiter
	turns  []turnKind

	open, mostOpen atomic.Int64
	opened         atomic.Int64
	bytes, replies atomic.Int64
	largest        atomic.Int64
	ends           counts
	lastMade       atomic.Int64 // number of the last name or id that was made up: each is new
	end            func()
}

// PrepareAttack makes on the server what an attack needs and returns the attack,
// on which the caller has to call Close.
func PrepareAttack(ctx context.Context, config AttackConfig) (*Attack, error) {
	name, turn, _ := strings.Cut(config.Name, ":")
	i := slices.IndexFunc(attackKinds, func(k attackKind) bool { return k.name == name })
	if i < 0 {
		return nil, fmt.Errorf("loadtest: AttackConfig.Name %q: want one of %s", config.Name, strings.Join(Attacks(), ", "))
	}
	kind := attackKinds[i]
	for _, d := range []struct {
		value    *int
		standard int
	}{{&config.Sockets, kind.sockets}, {&config.Rate, kind.rate}, {&config.Size, kind.size}, {&config.Sources, attackSources}} {
		if *d.value == 0 {
			*d.value = d.standard
		}
	}
	switch {
	case config.Sockets < 0 || config.Sockets > MaxUsers:
		return nil, fmt.Errorf("loadtest: AttackConfig.Sockets %d: want 0 to %d", config.Sockets, MaxUsers)
	case config.Rate < 0 || config.Rate > 1e6:
		return nil, fmt.Errorf("loadtest: AttackConfig.Rate %d: want 0 to 1000000", config.Rate)
	case config.Size < 0 || config.Size > 1e6:
		return nil, fmt.Errorf("loadtest: AttackConfig.Size %d: want 0 to 1000000", config.Size)
	case config.Sources < 0 || config.Sources > MaxSources:
		return nil, fmt.Errorf("loadtest: AttackConfig.Sources %d: want 0 to %d", config.Sources, MaxSources)
	}
	if err := config.Server.check(); err != nil {
		return nil, err
	}
	u, err := parseURL(config.Server.URLs[0])
	if err != nil {
		return nil, err
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err != nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("loadtest: Server.URLs: %s: want an address of this machine, such as 127.0.0.1, to attack", config.Server.URLs[0])
	}
	turns := slices.DeleteFunc(slices.Clone(kind.turns), func(t turnKind) bool { return turn != "" && t.name != turn })
	if turn != "" && len(turns) == 0 {
		return nil, fmt.Errorf("loadtest: AttackConfig.Name %q: want none behind the colon, or one of %s", config.Name, strings.Join(turnNames(kind.turns), ", "))
	}
	config.Server.Codec = protocol.JSON // its frames are the longer ones
	ctx, common, end, err := begin(ctx, config.Config, config.Sockets)
	if err != nil {
		return nil, err
	}
	a := &Attack{
		run: common, config: config, kind: kind, url: u, end: end, turns: turns,
		pace: rate.NewLimiter(rate.Limit(config.Rate), max(1, config.Rate/20)),
	}
	if kind.prepare != nil {
		if err := kind.prepare(ctx, a); err != nil {
			end()
			return nil, fmt.Errorf("loadtest: prepare %s: %w", kind.name, err)
		}
	}
	return a, nil
}

// Close ends the attack's connections; what it made on the server stays.
func (a *Attack) Close() { a.end() }

// Run attacks until ctx ends.
func (a *Attack) Run(ctx context.Context) (*AttackReport, error) {
	began := time.Now()
	before, known := readUsage(os.Getpid())
	var sockets sync.WaitGroup
	for n := range a.config.Sockets {
		sockets.Go(func() { a.besiege(ctx, n) })
	}
	sockets.Wait()
	report := &AttackReport{
		Name: a.config.Name, Sockets: a.config.Sockets, Rate: a.config.Rate, Sources: a.config.Sources,
		Opened: a.opened.Load(), MostOpen: a.mostOpen.Load(), Bytes: a.bytes.Load(), Replies: a.replies.Load(), LargestReply: a.largest.Load(), Ends: a.ends.all(),
	}
	if after, err := readUsage(os.Getpid()); err == nil && known == nil {
		report.Usage = usageBetween(before, after, time.Since(began), 0)
	}
	return report, nil
}

// besiege opens connections of socket n, one after the other, until ctx ends.
func (a *Attack) besiege(ctx context.Context, n int) {
	for a.pace.Wait(ctx) == nil {
		err := a.kind.raid(ctx, a, n)
		if ctx.Err() == nil {
			a.ends.add(endKind(err))
		}
	}
}

// endKind returns a few words for how a connection ended, to be counted by.
func endKind(err error) string {
	if held, ok := errors.AsType[*turnError](err); ok {
		return held.name + ": " + endKind(held.err)
	}
	if errors.Is(err, io.EOF) {
		return "hung up"
	}
	if status, ok := errors.AsType[*statusError](err); ok {
		return "status " + strconv.Itoa(status.code)
	}
	return failureKind(err)
}

// sourceOf returns the address that socket n connects from. It is never
// 127.0.0.1, from which the clients come that are no attackers.
func (a *Attack) sourceOf(n int) netip.Addr {
	if strings.Contains(a.url.Host, "[") {
		return netip.Addr{} // there is one address in ::1/128
	}
	n %= a.config.Sources
	return netip.AddrFrom4([4]byte{127, 1, byte(n/250) + 1, byte(n%250) + 1})
}

// An intruder is a connection of an attack, counted in the attack's report.
type intruder struct {
	net.Conn // over TLS once encrypt has been called, if the server has it
	tcp      net.Conn
	attack   *Attack
	leave    func() bool
}

// intrude opens a connection of socket n, without TLS for now.
func (a *Attack) intrude(ctx context.Context, n int) (*intruder, error) {
	dialing, cancel := context.WithTimeout(ctx, attackPatience)
	defer cancel()
	conn, err := connect(dialing, a.url, a.sourceOf(n))
	if err != nil {
		return nil, err
	}
	a.opened.Add(1)
	raise(&a.mostOpen, a.open.Add(1))
	return &intruder{Conn: conn, tcp: conn, attack: a, leave: context.AfterFunc(ctx, func() { conn.Close() })}, nil
}

// Close closes the connection without a word.
func (i *intruder) Close() error {
	i.leave()
	i.attack.open.Add(-1)
	return i.tcp.Close()
}

// encrypt begins TLS if the server has it.
func (i *intruder) encrypt(ctx context.Context) error {
	if i.attack.url.Scheme != "wss" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, attackPatience)
	defer cancel()
	secure, err := encrypt(ctx, &i.attack.config.Server, i.attack.url, i.tcp)
	i.Conn = secure
	return err
}

// upgrade makes a WebSocket of the connection.
func (i *intruder) upgrade(ctx context.Context) error {
	if err := i.encrypt(ctx); err != nil {
		return err
	}
	i.Conn.SetDeadline(time.Now().Add(attackPatience))
	defer i.Conn.SetDeadline(time.Time{})
	_, err := upgrade(i.Conn, i.attack.url, i.attack.config.Server.Codec)
	return err
}

// write writes as much of b as the server takes within some time. It is no error
// if the server takes no more.
func (i *intruder) write(b []byte, within time.Duration) error {
	i.Conn.SetWriteDeadline(time.Now().Add(within))
	n, err := i.Conn.Write(b)
	i.attack.bytes.Add(int64(n))
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return nil
	}
	return err
}

// hold keeps the connection until the server ends it, and returns how it ended.
// Whenever the server says nothing for dripEvery it writes drip, unless that is
// empty.
func (i *intruder) hold(drip []byte) error {
	var buf [256]byte
	var last []byte
	for {
		i.Conn.SetReadDeadline(time.Now().Add(dripEvery))
		n, err := i.Conn.Read(buf[:])
		if n > 0 {
			last = append(last[:0], buf[:n]...)
		}
		if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
			if len(drip) == 0 {
				continue
			}
			err = i.write(drip, time.Second)
		}
		if err != nil {
			return lastWord(last, err)
		}
	}
}

// lastWord returns why the server ended the connection, if the last bytes that it
// sent tell: they may hold an HTTP status or a close frame. Otherwise it returns
// err.
func lastWord(last []byte, err error) error {
	const status = "HTTP/1.1 "
	if text := string(last); strings.HasPrefix(text, status) && len(text) >= len(status)+3 {
		if code, bad := strconv.Atoi(text[len(status):][:3]); bad == nil {
			return &statusError{code}
		}
	}
	for len(last) > 0 {
		opcode, payload, n, _, bad := splitFrame(last)
		if bad != nil || n == 0 {
			break
		}
		if opcode == opClose && len(payload) >= 2 {
			return &CloseError{Code: int(payload[0])<<8 | int(payload[1])}
		}
		last = last[n:]
	}
	return err
}

// login opens a session of a user on socket n.
func (a *Attack) login(ctx context.Context, n int, user, device string) (*intruder, *reader, error) {
	i, err := a.intrude(ctx, n)
	if err != nil {
		return nil, nil, err
	}
	r, err := i.login(ctx, user, device)
	if err != nil {
		i.Close()
		return nil, nil, err
	}
	return i, r, nil
}

func (i *intruder) login(ctx context.Context, user, device string) (*reader, error) {
	token, err := i.attack.config.Server.Token(user)
	if err != nil {
		return nil, err
	}
	if err := i.upgrade(ctx); err != nil {
		return nil, err
	}
	i.Conn.SetReadDeadline(time.Now().Add(attackPatience))
	defer i.Conn.SetReadDeadline(time.Time{})
	r := &reader{socket: newSocket(i.Conn, i.attack.config.Server.Codec, nil)}
	args := protocol.LoginArgs{Token: token, Device: device, Recents: protocol.RecentsOff}
	return r, r.call(protocol.OpLogin, &args, new(protocol.LoginOK))
}

// ask makes a request when the pace allows and waits for the reply. A refusal is
// counted, and no error.
func (a *Attack) ask(ctx context.Context, r *reader, op string, args protocol.Args) error {
	if err := a.pace.Wait(ctx); err != nil {
		return err
	}
	r.socket.conn.SetReadDeadline(time.Now().Add(attackPatience))
	err := r.call(op, args, nil)
	if reply, refused := errors.AsType[*protocol.ReplyError](err); refused {
		a.ends.add("answered " + reply.Code)
		return nil
	}
	if err == nil {
		a.replies.Add(1)
		raise(&a.largest, int64(r.size))
	}
	return err
}

// administer makes calls of the administration API, adminParallel at a time.
func (a *Attack) administer(ctx context.Context, calls int, call func(n int) (method, path string, in any)) error {
	if a.config.Admin == nil {
		return errors.New("want AttackConfig.Admin")
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(adminParallel)
	for n := range calls {
		method, path, in := call(n)
		g.Go(func() error { return a.config.Admin(ctx, method, path, in) })
	}
	return g.Wait()
}
