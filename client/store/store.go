package store

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// format is the version of keys and values. A store of another one is refused.
const format = 1

// A Store is the data of one device of one user.
type Store struct {
	db DB

	mu      sync.Mutex
	jobs    []*job // that wait for the Update which runs
	running bool

	idMu    sync.Mutex
	id      identity
	unsaved bool // id is to be written with the next Update
}

// A job is one call of Update.
type job struct {
	run  func(*Tx)
	done chan error
	lead bool // set before done gets nil: this caller is to run the next Update
}

// A Tx is the store inside a transaction.
type Tx struct {
	kv  KV
	now int64 // the server's clock, ms
	err error // of the first value that could not be read or written

	// What was set and is not written yet; see flush.
	growing   growing
	last      lastEntry
	since     string
	sequences map[string]uint64

	// Used again and again, so that a value costs one allocation.
	coder  coder
	record record
	key    []byte
	buf    []byte
}

// flush writes what is kept back because the next call most often changes it again.
func (t *Tx) flush() {
	t.flushRun()
	t.flushEntry()
	if t.since != "" {
		s := text(t.since)
		t.setName("since", &s)
		t.since = ""
	}
	for name, last := range t.sequences {
		n := number(last)
		t.setName(name, &n)
	}
	clear(t.sequences)
}

func (t *Tx) decode(b []byte, v value) {
	t.coder = coder{b: b, reading: true}
	if err := t.coder.read(v); err != nil {
		t.fail(err)
	}
}

// set puts a value. One that could not be read again is an error of the transaction.
func (t *Tx) set(key []byte, v value) {
	t.coder = coder{b: t.buf[:0]}
	if v.fields(&t.coder); t.coder.err != nil {
		t.fail(t.coder.err)
		return
	}
	t.buf = t.coder.b
	t.kv.Put(key, bytes.Clone(t.buf))
}

// fail notes the first error of the transaction.
func (t *Tx) fail(err error) {
	if t.err == nil {
		t.err = err
	}
}

// Open reads whose data db holds. service is the name of the server that the client
// speaks to; a store of another one is refused with ErrForeign. A device that is empty is
// the one that the store names; a new store makes one up with newDevice.
func Open(db DB, service, device string, newDevice func() string) (*Store, error) {
	s := &Store{db: db}
	fresh := false
	err := s.View(func(t *Tx) { fresh = !t.name("identity", &s.id) })
	if err != nil {
		return nil, err
	}
	if fresh {
		for m := range Mark(Marks) { // a file of marks may have outlived its store
			if err := db.SetMark(m, 0); err != nil {
				return nil, err
			}
		}
		s.id = identity{format: format, service: service}
	}
	switch {
	case s.id.format != format:
		return nil, s.refuse(ErrCorrupt, "format %d, want %d", s.id.format, format)
	case s.id.service != service:
		return nil, s.refuse(ErrForeign, "of %s, want %s", s.id.service, service)
	case device != "" && device != s.id.device:
		s.id.device, s.unsaved = device, true
	case s.id.device == "":
		s.id.device, s.unsaved = newDevice(), true
	}
	return s, nil
}

// refuse returns an error with the name of the file.
func (s *Store) refuse(err error, why string, args ...any) error {
	return s.View(func(t *Tx) { t.err = fmt.Errorf("%w: "+why, append([]any{err}, args...)...) })
}

// User returns whose data the store holds; empty before the first login.
func (s *Store) User() string { return s.identity().user }

// Device returns the name of this device.
func (s *Store) Device() string { return s.identity().device }

func (s *Store) identity() identity {
	s.idMu.Lock()
	defer s.idMu.Unlock()
	return s.id
}

// Login notes that user has logged in, which the next Update writes unless it is the first
// login of all, and returns the number of that login in this
// store. ahead is the server's clock minus ours. A store of another user is refused with
// ErrForeign.
func (s *Store) Login(user string, ahead time.Duration) (login uint64, err error) {
	if owner := s.User(); owner != "" && owner != user {
		return 0, s.refuse(ErrForeign, "of %s, the token is of %s", owner, user)
	}
	s.idMu.Lock()
	first := s.id.user == ""
	s.id.user, s.id.ahead, s.unsaved = user, ahead.Milliseconds(), true
	s.id.logins++
	login = s.id.logins
	s.idMu.Unlock()
	if first {
		err = s.Update(func(*Tx) {})
	}
	return login, err
}

// Close waits for transactions that run, and frees the file.
func (s *Store) Close() error { return s.db.Close() }

// SetMark and Marks are those of the DB.
func (s *Store) SetMark(m Mark, to uint64) error { return s.db.SetMark(m, to) }
func (s *Store) Marks() [Marks]uint64            { return s.db.Marks() }

func (s *Store) tx(kv KV) *Tx {
	return &Tx{kv: kv, now: time.Now().UnixMilli() + s.identity().ahead}
}

// View runs f over what is stored.
func (s *Store) View(f func(*Tx)) error {
	return s.db.View(func(kv KV) error {
		t := s.tx(kv)
		f(t)
		return t.err
	})
}

// Update runs f and makes its changes durable. Callers that come while another Update
// waits for the disk share the next one. If one of these meets a damaged value, none of
// them has changed anything, and all get the error.
func (s *Store) Update(f func(*Tx)) error {
	j := &job{run: f, done: make(chan error, 1)}
	s.mu.Lock()
	s.jobs = append(s.jobs, j)
	lead := !s.running
	s.running = true
	s.mu.Unlock()
	if !lead {
		err := <-j.done
		if !j.lead {
			return err
		}
	}

	s.mu.Lock()
	jobs := s.jobs
	s.jobs = nil
	s.mu.Unlock()
	err := s.commit(jobs)
	for _, other := range jobs {
		if other != j {
			other.done <- err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running = len(s.jobs) > 0; s.running {
		next := s.jobs[0]
		next.lead = true
		next.done <- nil
	}
	return err
}

func (s *Store) commit(jobs []*job) error {
	s.idMu.Lock()
	id, unsaved := s.id, s.unsaved
	s.unsaved = false
	s.idMu.Unlock()
	err := s.db.Update(func(kv KV) error {
		t := s.tx(kv)
		if unsaved {
			t.setName("identity", &id)
		}
		for _, j := range jobs {
			if j.run(t); t.err != nil {
				return t.err
			}
		}
		t.flush()
		return t.err
	})
	if err != nil && unsaved {
		s.idMu.Lock()
		s.unsaved = true
		s.idMu.Unlock()
	}
	return err
}

// name reads something that there is one of, and reports whether it is there.
func (t *Tx) name(name string, v value) bool {
	b := t.kv.Get(append([]byte{keyName}, name...))
	if b != nil {
		t.decode(b, v)
	}
	return b != nil
}

func (t *Tx) setName(name string, v value) {
	t.set(append([]byte{keyName}, name...), v)
}

// A number is a value of its own.
type number uint64

func (n *number) fields(c *coder) { c.uint((*uint64)(n)) }

// A text is a value of its own.
type text string

func (s *text) fields(c *coder) { c.text((*string)(s)) }

// next returns the next number of a sequence, the first of which is 1.
func (t *Tx) next(sequence string) uint64 {
	last, ok := t.sequences[sequence]
	if !ok {
		var n number
		t.name(sequence, &n)
		last = uint64(n)
	}
	if t.sequences == nil {
		t.sequences = make(map[string]uint64)
	}
	t.sequences[sequence] = last + 1
	return last + 1
}

// Cursor returns where the next login goes on: that of one-to-one conversations, and
// those of up to limit groups, the ones that moved last.
func (t *Tx) Cursor(limit int) (since string, groups []protocol.GroupCursor) {
	var s text
	t.name("since", &s)
	type moved struct {
		protocol.GroupCursor
		at uint64
	}
	var all []moved
	for k, v := range t.kv.Scan([]byte{keyCursor}, []byte{keyCursor + 1}, false) {
		var g cursor
		t.decode(v, &g)
		all = append(all, moved{protocol.GroupCursor{Group: string(k[1:]), Cursor: g.text}, g.moved})
	}
	slices.SortFunc(all, func(a, b moved) int { return cmp.Compare(a.at, b.at) })
	for _, m := range all[max(len(all)-limit, 0):] {
		groups = append(groups, m.GroupCursor)
	}
	return string(s), groups
}

// MoveCursor takes over cursors of a frame. It leaves since if that is empty, and the
// groups that it does not name.
func (t *Tx) MoveCursor(since string, groups []protocol.GroupCursor) {
	if since != "" {
		t.since = since
	}
	for _, g := range groups {
		c := cursor{moved: t.next("moves"), text: g.Cursor}
		t.set(append([]byte{keyCursor}, g.Group...), &c)
	}
}

// BeginCursor takes over the cursor of a group that has none.
func (t *Tx) BeginCursor(g protocol.GroupCursor) {
	if g.Cursor != "" && t.kv.Get(append([]byte{keyCursor}, g.Group...)) == nil {
		t.MoveCursor("", []protocol.GroupCursor{g})
	}
}
