package watch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// A world is some nodes with leaders, sessions and groups, whose streams break and whose
// leaders change as a seed decides. Its state is what Raft would keep: it is never lost.
type world struct {
	t    testing.TB
	rand *rand.Rand // of the test's goroutine

	mu       sync.Mutex
	nodes    []*node
	shards   []shardModel
	arrivals map[string]uint64 // of users and groups
	alive    map[Key]bool      // sessions in the state
	online   map[command.UserID]bool
	kicked   map[Key]bool // sessions that were ended with a kick
	links    map[*link]bool
	cut      bool // no stream can be opened
}

type shardModel struct {
	leader int
	term   uint64
	serves time.Time // from then on

	// The leader before does not know yet that it is none, nor what came since.
	deposed     int
	deposedTill time.Time
	alive       map[Key]bool
	online      map[command.UserID]bool
}

// A node is one with sessions and leaders. Its fields are guarded by world.mu.
type node struct {
	*world
	id       int
	server   *Server
	follower *Follower

	// Of its sessions and groups: how far they have read.
	read    map[Key]uint64
	told    map[Key]string // how sessions ended
	online  map[command.UserID]Online
	members map[string]int // calls of WakeMember

	// Of its leaders.
	watchers map[Key]map[*Audience]any
}

func name(id int) string { return fmt.Sprint("node", id) }

func newWorld(t testing.TB, nodes, shards int, seed uint64) *world {
	w := &world{
		t: t, rand: rand.New(rand.NewPCG(seed, 1)), shards: make([]shardModel, shards),
		arrivals: make(map[string]uint64), alive: make(map[Key]bool), kicked: make(map[Key]bool), online: make(map[command.UserID]bool),
		links: make(map[*link]bool),
	}
	for id := range nodes {
		n := &node{world: w, id: id, read: make(map[Key]uint64), told: make(map[Key]string), online: make(map[command.UserID]Online), members: make(map[string]int), watchers: make(map[Key]map[*Audience]any)}
		n.server = NewServer(n, Config{Keep: time.Hour})
		n.follower = NewFollower(n, n.dial, Config{})
		w.nodes = append(w.nodes, n)
	}
	return w
}

func (w *world) close() {
	w.mu.Lock()
	w.cut = true
	for l := range w.links {
		go l.cut()
	}
	w.mu.Unlock()
	for _, n := range w.nodes {
		n.follower.Close()
		n.server.Close()
	}
}

// elect gives a shard another leader, which knows no watcher. The nodes hear of it one
// after the other.
func (w *world) elect(shard uint32, leader int) {
	w.mu.Lock()
	s := &w.shards[shard]
	s.deposed, s.deposedTill = s.leader, time.Now().Add(time.Duration(w.rand.IntN(600))*time.Millisecond)
	s.alive, s.online = maps.Clone(w.alive), maps.Clone(w.online)
	s.leader, s.term, s.serves = leader, s.term+1, time.Now().Add(time.Duration(w.rand.IntN(300))*time.Millisecond)
	for _, n := range w.nodes {
		for k := range n.watchers {
			if w.shardOf(k) == shard {
				delete(n.watchers, k)
			}
		}
	}
	term := s.term
	delays := make([]time.Duration, len(w.nodes))
	for i := range delays {
		delays[i] = time.Duration(w.rand.IntN(400)) * time.Millisecond
	}
	w.mu.Unlock()
	for _, n := range w.nodes {
		time.AfterFunc(delays[n.id], func() { n.follower.SetLeader(shard, name(leader), term) })
	}
}

// keyName returns the name whose arrival numbers matter for k.
func keyName(k Key) string {
	if k.Kind == KeyGroup {
		return string(k.Group)
	}
	return string(k.User)
}

func (w *world) shardOf(k Key) uint32 {
	n := 0
	for _, c := range keyName(k) {
		n = n*31 + int(c)
	}
	return uint32(n % len(w.shards))
}

// change has something come for a user or a group, and tells the watchers.
func (w *world) change(k Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.arrivals[keyName(k)]++
	leader := w.nodes[w.shards[w.shardOf(k)].leader]
	for key, watchers := range leader.watchers {
		if keyName(key) != keyName(k) || key.Kind != k.Kind {
			continue
		}
		for _, watcher := range watchers {
			watcher.(interface{ Wake() }).Wake()
		}
	}
}

// kick ends a session.
func (w *world) kick(k Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.alive[k] {
		return
	}
	delete(w.alive, k)
	w.kicked[k] = true
	leader := w.nodes[w.shards[w.shardOf(k)].leader]
	for _, watcher := range leader.watchers[k] {
		watcher.(*Session).Kick("policy")
	}
	delete(leader.watchers, k)
}

func (w *world) setOnline(user command.UserID, online bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.online[user] = online
	k := Key{Kind: KeyPresence, User: user}
	shard := w.shardOf(k)
	for a := range w.nodes[w.shards[shard].leader].watchers[k] {
		a.Presence(shard, w.shards[shard].term, user, online)
	}
}

// watch has a node watch a key.
func (n *node) watch(k Key) {
	n.mu.Lock()
	n.read[k] = n.arrivals[keyName(k)]
	if k.Kind == KeySession {
		n.alive[k] = true
	}
	shard := n.shardOf(k)
	leader := n.shards[shard]
	n.mu.Unlock()
	if k.Kind == KeySession { // whoever was logged in has heard of the leader by that
		n.follower.SetLeader(shard, name(leader.leader), leader.term)
	}
	n.follower.Tell(shard, k, nil)
}

// unwatch undoes watch.
func (n *node) unwatch(k Key) {
	n.mu.Lock()
	delete(n.read, k)
	delete(n.alive, k)
	if k.Kind == KeyPresence {
		delete(n.online, k.User)
	}
	shard := n.shardOf(k)
	n.mu.Unlock()
	n.follower.Tell(shard, k, nil)
}

// Watch implements Host.
func (n *node) Watch(a *Audience, shard uint32, term uint64, interests []Interest) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := &n.shards[shard]
	if s.deposed == n.id && s.term == term+1 && time.Now().Before(s.deposedTill) {
		n.answerDeposed(a, shard, term, interests)
		return true
	}
	if s.leader != n.id || s.term != term || time.Now().Before(s.serves) {
		return false
	}
	for _, in := range interests {
		k := in.Key
		watchers := n.watchers[k]
		switch {
		case in.End:
			if delete(watchers, a); len(watchers) == 0 {
				delete(n.watchers, k)
			}
			continue
		case k.Kind == KeySession && !n.alive[k]:
			a.Gone(shard, term, k.User, k.Session)
			continue
		case watchers == nil:
			watchers = make(map[*Audience]any)
			n.watchers[k] = watchers
		}
		switch k.Kind {
		case KeySession:
			if watchers[a] == nil {
				watchers[a] = a.Session(k.User, k.Session)
			}
		case KeyGroup:
			if watchers[a] == nil {
				watchers[a] = a.Group(k.Group)
			}
		case KeyPresence:
			watchers[a] = true
			if online := n.world.online[k.User]; in.Online == OnlineUnknown || online != (in.Online == OnlineYes) {
				a.Presence(shard, term, k.User, online)
			}
			continue
		}
		if in.UpTo < n.arrivals[keyName(k)] {
			watchers[a].(interface{ Wake() }).Wake()
		}
	}
	return true
}

// answerDeposed answers from the past.
func (n *node) answerDeposed(a *Audience, shard uint32, term uint64, interests []Interest) {
	s := &n.shards[shard]
	for _, in := range interests {
		switch {
		case in.End:
		case in.Kind == KeySession && !s.alive[in.Key]:
			a.Gone(shard, term, in.User, in.Session)
		case in.Kind == KeyPresence:
			a.Presence(shard, term, in.User, s.online[in.User])
		}
	}
}

// Lost implements Host.
func (n *node) Lost(a *Audience) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for k, watchers := range n.watchers {
		if delete(watchers, a); len(watchers) == 0 {
			delete(n.watchers, k)
		}
	}
}

// Keys implements Source.
func (n *node) Keys(shard uint32) (keys []Key) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for k := range n.read {
		if n.shardOf(k) == shard {
			keys = append(keys, k)
		}
	}
	return keys
}

// Interest implements Source.
func (n *node) Interest(k Key, _ bool) Interest {
	n.mu.Lock()
	defer n.mu.Unlock()
	upTo, is := n.read[k]
	return Interest{Key: k, End: !is, UpTo: upTo, Online: n.online[k.User]}
}

// catchUp has what watches k read everything, as its shard's leader has it.
func (n *node) catchUp(k Key) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, is := n.read[k]; is {
		n.read[k] = n.arrivals[keyName(k)]
	}
}

func (n *node) Wake(user command.UserID, session command.SessionID) {
	n.catchUp(Key{Kind: KeySession, User: user, Session: session})
}

func (n *node) WakeGroup(group command.GroupID) { n.catchUp(Key{Kind: KeyGroup, Group: group}) }

func (n *node) WakeMember(group command.GroupID, user command.UserID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.members[string(group)+"/"+string(user)]++
}

func (n *node) Kick(user command.UserID, session command.SessionID, reason string) {
	n.ended(Key{Kind: KeySession, User: user, Session: session}, reason)
}

func (n *node) Gone(user command.UserID, session command.SessionID) {
	n.ended(Key{Kind: KeySession, User: user, Session: session}, "gone")
}

func (n *node) ended(k Key, how string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, is := n.read[k]; is {
		delete(n.read, k)
		n.told[k] = how
	}
}

func (n *node) Presence(user command.UserID, online bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.online[user] = OnlineNo
	if online {
		n.online[user] = OnlineYes
	}
}

func (n *node) Signal(command.UserID, command.SessionID, store.Signal) {}
func (n *node) SignalGroup(*query.Message)                             {}

// A link is a stream in memory. Each message takes a while.
type link struct {
	ended chan struct{}
	once  sync.Once
	world *world
}

func (l *link) cut() {
	l.once.Do(func() { close(l.ended) })
	if l.world != nil {
		l.world.mu.Lock()
		defer l.world.mu.Unlock()
		delete(l.world.links, l)
	}
}

var errCut = errors.New("cut")

type linkEnd struct {
	*link
	in, out chan []byte
}

func (e linkEnd) Close() { e.cut() }

func (e linkEnd) Send(message []byte) error {
	time.Sleep(10 * time.Millisecond)
	select {
	case e.out <- message:
		return nil
	case <-e.ended:
		return errCut
	}
}

func (e linkEnd) Recv() ([]byte, error) {
	select {
	case m := <-e.in:
		return m, nil
	case <-e.ended:
		return nil, errCut
	}
}

func newLink(w *world) (a, b linkEnd) {
	l := &link{ended: make(chan struct{}), world: w}
	there, back := make(chan []byte, 4), make(chan []byte, 4)
	return linkEnd{l, back, there}, linkEnd{l, there, back}
}

func (n *node) dial(ctx context.Context, to string) (Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var host *node
	for _, other := range n.nodes {
		if name(other.id) == to {
			host = other
		}
	}
	if n.cut {
		return nil, errCut
	}
	here, there := newLink(n.world)
	n.links[here.link] = true
	go host.server.Serve(context.Background(), name(n.id), there)
	return here, nil
}

// TestEverythingIsSeen has leaders change, streams break, and users, groups and sessions
// come and go meanwhile. Once all is well again every watcher has to have read
// everything, every kicked session and no other has to know that it ended, and no leader
// may hold what is not there any more.
func TestEverythingIsSeen(t *testing.T) {
	for seed := range uint64(seeds(t)) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { everythingIsSeen(t, seed) })
		})
	}
}

func seeds(t *testing.T) int {
	if testing.Short() {
		return 5
	}
	return 40
}

func everythingIsSeen(t *testing.T, seed uint64) {
	const nodes, shards, users, groups, steps = 3, 4, 12, 4, 600
	w := newWorld(t, nodes, shards, seed)
	defer w.close()
	for shard := range uint32(shards) {
		w.elect(shard, w.rand.IntN(nodes))
	}
	session := 0
	user := func() command.UserID { return command.UserID(fmt.Sprint("user", w.rand.IntN(users))) }
	held := func(n *node) (keys []Key) { // in no order: the seed does not decide which is taken
		n.mu.Lock()
		defer n.mu.Unlock()
		for k := range n.read {
			keys = append(keys, k)
		}
		return keys
	}
	for range steps {
		n := w.nodes[w.rand.IntN(nodes)]
		switch w.rand.IntN(20) {
		case 0:
			w.elect(uint32(w.rand.IntN(shards)), w.rand.IntN(nodes))
		case 1:
			w.mu.Lock()
			for l := range w.links {
				go l.cut()
				break
			}
			w.mu.Unlock()
		case 2, 3, 4:
			session++
			n.watch(Key{Kind: KeySession, User: user(), Session: command.SessionID(session)})
		case 5:
			n.watch(Key{Kind: KeyGroup, Group: command.GroupID(fmt.Sprint("group", w.rand.IntN(groups)))})
		case 6:
			n.watch(Key{Kind: KeyPresence, User: user()})
		case 7:
			if keys := held(n); len(keys) > 0 {
				n.unwatch(keys[w.rand.IntN(len(keys))])
			}
		case 8:
			if keys := held(n); len(keys) > 0 {
				if k := keys[w.rand.IntN(len(keys))]; k.Kind == KeySession {
					w.kick(k)
				}
			}
		case 9:
			w.setOnline(user(), w.rand.IntN(2) == 0)
		case 10, 11, 12:
			w.change(Key{Kind: KeyGroup, Group: command.GroupID(fmt.Sprint("group", w.rand.IntN(groups)))})
		default:
			w.change(Key{Kind: KeySession, User: user()})
		}
		time.Sleep(time.Duration(w.rand.IntN(30)) * time.Millisecond)
	}
	time.Sleep(20 * time.Second)
	synctest.Wait()

	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.nodes {
		for k, upTo := range n.read {
			switch {
			case k.Kind == KeyPresence:
				if want := w.online[k.User]; n.online[k.User] == OnlineUnknown || (n.online[k.User] == OnlineYes) != want {
					t.Errorf("%s holds %s for %d, want online %v", name(n.id), k.User, n.online[k.User], want)
				}
			case upTo != w.arrivals[keyName(k)]:
				t.Errorf("%s: %+v has read up to %d, want %d", name(n.id), k, upTo, w.arrivals[keyName(k)])
			case k.Kind == KeySession && !w.alive[k]:
				t.Errorf("%s: %+v does not know that it has ended", name(n.id), k)
			}
		}
		for k, how := range n.told {
			if w.alive[k] || !w.kicked[k] {
				t.Errorf("%s: %+v was told %q, and was not ended", name(n.id), k, how)
			}
		}
		for k, watchers := range n.watchers {
			if shard := w.shards[w.shardOf(k)]; shard.leader != n.id {
				t.Errorf("%s holds watchers of a shard that it does not lead", name(n.id))
			}
			for a := range watchers {
				var of *node
				for _, other := range w.nodes {
					if name(other.id) == a.Node() {
						of = other
					}
				}
				if _, is := of.read[k]; !is {
					t.Errorf("%s holds a watcher of %s for %+v, which is not there", name(n.id), a.Node(), k)
				}
			}
		}
	}
}
