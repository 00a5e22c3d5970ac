package client

import (
	"crypto/rand"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/belfry-im/belfry/client/store"
	"github.com/belfry-im/belfry/gateway/protocol"
)

// An OpenStore opens the store of a client.
type OpenStore func() (store.DB, error)

// WithoutStorage is the zero Config.Store: nothing is kept beyond the client's life, and
// what reads the store returns ErrNoStore.
var WithoutStorage OpenStore

// File is a store in a bbolt file, one per user and service. The file and its folder are
// made if they are not there, readable by their owner alone. Beside it lies a small file
// with the suffix ".marks".
func File(path string) OpenStore {
	return func() (store.DB, error) { return store.OpenFile(path) }
}

// Memory is a store that ends with the process. Clients that are given the same one, one
// after the other, go on with it.
func Memory() OpenStore {
	db := store.Memory()
	return func() (store.DB, error) { return db, nil }
}

// disk is a client's store, with what is known of it for as long as the client lives.
type disk struct {
	*store.Store

	login   atomic.Uint64    // number of the present session in the store
	handled uint64           // newest delivery that is done with; used by the dispatching goroutine alone
	left    []store.Delivery // what earlier processes have not handled; used by New, then by the dispatching goroutine

	mu   sync.Mutex
	off  map[protocol.Conv]bool // conversations of which nothing is stored
	tail tails
	// resets has the number of the session that reset a group last, and under allConvs of
	// the one that reset all.
	resets map[protocol.Conv]uint64
	busy   map[protocol.Conv]chan struct{} // conversations that are being filled
	// What the user has read, by an answer of the session readIn that the store had before
	// the onSynced of that: this says what was at the login. It grows to one per conversation.
	read     map[protocol.Conv]readState
	readIn   uint64
	syncedIn uint64 // number of the session whose onSynced the store has had last

	settled  chan struct{} // has a value if there is something to settle
	calls    []*call       // kept calls that have ended and are on disk still; guarded by mu
	settling sync.Mutex    // held while calls are settled; before mu
}

// tails says of which conversations the store is sure to have the newest seq: the
// session has been told, and is told of what comes.
type tails struct {
	known map[protocol.Conv]bool
	// The login had a cursor, of all conversations with users or of groups: of those that
	// the store follows it was told what is newer.
	users  bool
	groups map[protocol.Conv]bool
}

// A readState is what the server has said of a conversation in an answer.
type readState struct {
	seq    uint64 // the user has read up to here
	unread int    // -1 = not told
}

// noteRead notes what the server has agreed to in a session, and reports whether the onSynced
// of a later session says the same, or what is newer. It is called when the store is written.
func (d *disk) noteRead(conv protocol.Conv, login uint64, to readState) (old bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if login <= d.syncedIn || login < d.readIn {
		return login < d.syncedIn
	}
	if login > d.readIn {
		d.readIn, d.read = login, make(map[protocol.Conv]readState)
	}
	if had, ok := d.read[conv]; ok {
		to.seq = max(to.seq, had.seq)
		if had.unread >= 0 && (to.unread < 0 || had.unread < to.unread) {
			to.unread = had.unread
		}
	}
	d.read[conv] = to
	return false
}

// takeRead returns what noteRead has noted for the onSynced of a session.
func (d *disk) takeRead(login uint64) (read map[protocol.Conv]readState) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.readIn == login {
		read = d.read
	}
	d.read, d.syncedIn = nil, login
	return read
}

func openDisk(cfg *Config) (*disk, error) {
	db, err := cfg.Store()
	if err != nil {
		return nil, err
	}
	s, err := store.Open(db, cfg.Service, cfg.Device, func() string { return rand.Text()[:16] })
	if err != nil {
		db.Close()
		return nil, err
	}
	d := &disk{
		Store: s, off: make(map[protocol.Conv]bool), resets: make(map[protocol.Conv]uint64), busy: make(map[protocol.Conv]chan struct{}),
		settled: make(chan struct{}, 1),
	}
	d.forgetTails()
	err = s.View(func(t *store.Tx) {
		for _, conv := range t.AllDisabled() {
			d.off[conv] = true
		}
	})
	if err != nil {
		s.Close()
		return nil, err
	}
	return d, nil
}

// stores reports whether a conversation is stored.
func (d *disk) stores(conv protocol.Conv) bool {
	if d == nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.off[conv]
}

// allConvs stands for all conversations in disk.resets.
var allConvs protocol.Conv

func (d *disk) noteReset(conv protocol.Conv, login uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.resets[conv] = login
}

// resetIn returns the number of the session that reset a conversation last, 0 if none has.
// What was asked or sent before may be of what was dropped.
func (d *disk) resetIn(conv protocol.Conv) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return max(d.resets[conv], d.resets[allConvs])
}

func (d *disk) forgetTails() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tail = tails{known: make(map[protocol.Conv]bool), groups: make(map[protocol.Conv]bool)}
}

func (d *disk) knowTail(convs ...protocol.Conv) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, conv := range convs {
		d.tail.known[conv] = true
	}
}

func (d *disk) tailKnown(t *store.Tx, conv protocol.Conv) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	told := d.tail.users && !conv.Group || d.tail.groups[conv]
	return d.tail.known[conv] || told && t.Entry(conv).Followed
}

// synced notes of which conversations an onSynced has told the newest seq. since says whether
// the login had a cursor, and given of which groups.
func (d *disk) synced(p *protocol.Synced, since bool, given []protocol.GroupCursor) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p.Reset && len(p.ResetGroups) == 0 { // what was known before may have gone
		clear(d.tail.known)
	} else {
		d.tail.users = since
		for _, g := range given {
			d.tail.groups[protocol.GroupConv(g.Group)] = true
		}
		for _, g := range p.ResetGroups {
			delete(d.tail.known, protocol.GroupConv(g))
			delete(d.tail.groups, protocol.GroupConv(g))
		}
	}
	for _, list := range [][]protocol.Conversation{p.Conversations, p.Users, p.Groups} {
		for i := range list {
			if conv := list[i].Conv; !d.off[conv] {
				d.tail.known[conv] = true
			}
		}
	}
}

// DisableStorage has nothing of a conversation stored from now on, also by later clients
// with this store, and removes what is. Its messages are passed to OnMessages as without a
// store: one that was pushed and not handled when the process ends may be missed, and
// sends to it are not kept. EnableStorage undoes it.
func (c *Client) DisableStorage(conv string) error { return c.setStorage(conv, false) }

// EnableStorage undoes DisableStorage, for messages from now on.
func (c *Client) EnableStorage(conv string) error { return c.setStorage(conv, true) }

func (c *Client) setStorage(conv string, on bool) error {
	of, err := protocol.ParseConv(conv)
	if err != nil {
		return err
	}
	d := c.disk
	if d == nil {
		return ErrNoStore
	}
	d.mu.Lock()
	d.off = maps.Clone(d.off)
	if on {
		delete(d.off, of)
	} else {
		d.off[of] = true
	}
	delete(d.tail.known, of) // either way the store has nothing of it
	d.mu.Unlock()
	return d.Update(func(t *store.Tx) { t.Disable(of, !on) })
}

// dispatchStored is dispatch with a store: before it calls the handlers of the events that
// have come, it writes what they say into the store, all in one transaction.
func (c *Client) dispatchStored() {
	c.replay()
	for {
		events, ok := c.in.takeAll()
		if !ok {
			return
		}
		c.keepAll(events)
		for _, e := range events {
			if c.in.next(e.kind) && e.run != nil && (e.from == nil || !e.from.broken) {
				e.run()
			}
			c.acknowledgeRest()
		}
		c.out.signal() // acknowledges what was handled, while the next transaction runs
	}
}

// keepAll writes events into the store. If that fails, their sessions end with the error:
// none of their frames is handled or acknowledged, and the next login brings them again.
func (c *Client) keepAll(events []event) {
	if !slices.ContainsFunc(events, func(e event) bool { return e.keep != nil && !e.from.broken }) {
		return
	}
	err := c.disk.Update(func(t *store.Tx) {
		t.DropDeliveries(c.disk.handled)
		t.Sweep(c.disk.User())
		for _, e := range events {
			if e.keep != nil && !e.from.broken {
				e.keep(t)
			}
		}
	})
	if err == nil {
		return
	}
	c.cfg.Log.Error("store not written", "err", err)
	for _, e := range events {
		if e.from != nil {
			e.from.broken = true
			e.from.end(err)
		}
	}
}

// readDeliveries reads what replay passes on. An error must not be left to replay: a mark
// of a later delivery would count these as handled.
func (d *disk) readDeliveries() error {
	return d.View(func(t *store.Tx) { d.left = t.Deliveries(d.Marks()) })
}

// replay passes to the application what earlier processes have stored and not handled.
func (c *Client) replay() {
	list := c.disk.left
	c.disk.left = nil
	for _, d := range list {
		handler := c.cfg.OnMessages
		if d.Begun && c.cfg.OnInterrupted != nil {
			handler = c.cfg.OnInterrupted
		}
		if c.stop.Err() != nil {
			return
		}
		c.handle(d.N, d.Messages, handler)
	}
}

// handle calls the handler of a delivery, between two marks: see Exactly once. Number 0
// is a delivery that is not stored. Ids are noted here, not when a frame is written into
// the store, for that may fail; and of all messages, for one whose conversation is stored
// no more is recognized by them alone.
func (c *Client) handle(n uint64, list []Message, handler func([]Message)) {
	list = slices.DeleteFunc(list, func(m Message) bool { return !m.Ephemeral && !c.had.add(m.ID) })
	if n > 0 {
		c.mark(store.MarkBegun, n)
	}
	if handler != nil && len(list) > 0 {
		handler(list)
	}
	if n > 0 {
		c.mark(store.MarkHandled, n)
		c.disk.handled = n
	}
}

func (c *Client) mark(m store.Mark, n uint64) {
	if err := c.disk.SetMark(m, n); err != nil {
		c.cfg.Log.Error("store not marked", "err", err)
	}
}
