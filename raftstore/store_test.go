package raftstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// logKinds are run by every test that reads back what was written.
var logKinds = []string{RaftLogWAL, RaftLogBolt, RaftLogShared}

// testConfig is a store of small steps in a directory of the test's own.
func testConfig(t testing.TB) Config {
	cfg := Config{
		Dir: t.TempDir(), Shards: 2, DiskReserve: -1, Limits: command.Limits{NewConversations: -1}, expectPatience: time.Minute,
	}
	if os.Getenv("BELFRY_TEST_LOG") != "" {
		cfg.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	return cfg
}

func open(t testing.TB, cfg Config) *Store {
	t.Helper()
	s, err := Open(cfg)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	stop := changeLeaders(t, s)
	t.Cleanup(func() {
		stop()
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// eventually polls until ok, with a deadline that only a broken build reaches.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// userIn finds a user of a shard; n tells several apart.
func userIn(s *Store, id, n int) command.UserID {
	for i := 0; ; i++ {
		user := command.UserID(fmt.Sprintf("user%d", i))
		if int(s.shardOf(user).id) == id {
			if n--; n < 0 {
				return user
			}
		}
	}
}

func msgID(n uint64) (id command.MsgID) {
	binary.BigEndian.PutUint64(id[8:], n)
	return id
}

func message(from, to command.UserID, n int) *command.Send {
	return &command.Send{User: from, To: to, ID: msgID(uint64(n)), CID: fmt.Sprintf("c%d", n), Body: []byte{0xa1, 'x'}}
}

// again calls f. Where tests have leaders change, it repeats what found no leader or has no
// outcome, as clients do: one node alone has nobody else to ask.
func again(t testing.TB, f func() error) error {
	t.Helper()
	for until := time.Now().Add(time.Minute); ; {
		err := f()
		leaderless := errors.Is(err, store.ErrUnknown) || errors.Is(err, store.ErrNotLeader)
		if !leaderless || electionsEvery(t) == 0 || time.Now().After(until) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// proposeAgain is Store.Propose, see again.
func proposeAgain(t testing.TB, s *Store, cmd command.Command) (r command.Result, err error) {
	t.Helper()
	err = again(t, func() error { r, err = s.Propose(context.Background(), cmd); return err })
	return r, err
}

func send(t testing.TB, s *Store, cmd *command.Send) command.Result {
	t.Helper()
	r, err := proposeAgain(t, s, cmd)
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		t.Fatalf("send %s → %s %s: %v", cmd.User, cmd.To, cmd.CID, err)
	}
	return r
}

// cids lists the cids of the user's view of a conversation, oldest first.
func cids(t testing.TB, s *Store, user, peer command.UserID) (list []string) {
	t.Helper()
	var page query.Page
	for after := uint64(0); ; after = page.To {
		q := query.HistoryQuery{User: user, Peer: peer, After: after, HasAfter: true, Limit: 100, MaxBytes: 1 << 20}
		var err error
		eventually(t, "a leader answers", func() bool {
			err = again(t, func() error { return s.History(q, &page) })
			return !errors.Is(err, store.ErrUnavailable)
		})
		if err != nil {
			t.Fatalf("History(%s, %s): %v", user, peer, err)
		}
		for _, m := range page.Updates.Messages {
			list = append(list, string(m.CID))
		}
		if !page.More {
			return list
		}
	}
}

// stateSize is what a shard's state takes in memory.
func stateSize(sh *shardRef) (n int) {
	sh.here().local.Inspect(func(st *shard.State, _ int64) { n = st.Size() })
	return n
}

// checksums hashes the slots of a shard.
func checksums(s *Store, id int) map[uint16]uint64 {
	sh := s.shards()[id].here()
	sums := make(map[uint16]uint64)
	sh.local.Inspect(func(st *shard.State, _ int64) {
		for slot := range uint16(command.Slots) {
			if st.Owns(slot) {
				sums[slot] = st.Checksum(slot)
			}
		}
	})
	return sums
}

// ear is a Watcher that counts and keeps.
type ear struct {
	mu      sync.Mutex
	wakes   int
	kicks   []string
	signals []store.Signal
	acks    store.Acks
	gone    int
	upTo    uint64
}

func (e *ear) Wake() { e.mu.Lock(); defer e.mu.Unlock(); e.wakes++ }
func (e *ear) Kick(reason string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.kicks = append(e.kicks, reason)
}
func (e *ear) Signal(s store.Signal) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.signals = append(e.signals, s)
}

func (e *ear) Acked(group command.GroupID, arrival uint64) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.acks.Has(group, arrival)
}

func (e *ear) Gone()        { e.mu.Lock(); defer e.mu.Unlock(); e.gone++ }
func (e *ear) UpTo() uint64 { e.mu.Lock(); defer e.mu.Unlock(); return e.upTo }

func (e *ear) Acks() store.Acks { e.mu.Lock(); defer e.mu.Unlock(); return e.acks }

func (e *ear) kicked() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]string(nil), e.kicks...)
}

func (e *ear) heard() []store.Signal {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]store.Signal(nil), e.signals...)
}

func login(t testing.TB, s *Store, user command.UserID, device string, w store.Watcher) *query.Sync {
	t.Helper()
	sync, err := s.Login(context.Background(), &command.Login{User: user, Device: device}, query.RecentsOn, w)
	if err != nil {
		t.Fatalf("Login %s: %v", user, err)
	}
	return sync
}

func TestRestartKeepsEverything(t *testing.T) {
	for _, kind := range logKinds {
		t.Run(kind, func(t *testing.T) {
			cfg := testConfig(t)
			cfg.RaftLog = kind
			s := open(t, cfg)
			alice, bob := userIn(s, 0, 0), userIn(s, 1, 0)
			var first command.Result
			for n := range 50 {
				r := send(t, s, message(alice, bob, n))
				if n == 0 {
					first = r
				}
			}
			eventually(t, "bob has all", func() bool { return len(cids(t, s, bob, alice)) == 50 })
			eventually(t, "the outbox is empty", func() bool { return outboxEmpty(s) })
			before := []map[uint16]uint64{checksums(s, 0), checksums(s, 1)}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}

			s = open(t, cfg)
			for id := range before {
				if got := checksums(s, id); !equalSums(got, before[id]) {
					t.Errorf("shard %d after restart differs", id)
				}
			}
			if again := send(t, s, message(alice, bob, 0)); !again.Duplicate || again.Seq != first.Seq || again.ID != first.ID || again.Time != first.Time {
				t.Errorf("repeat after restart = %+v, want the first %+v", again, first)
			}
		})
	}
}

func outboxEmpty(s *Store) bool {
	for _, g := range s.shards() {
		empty := true
		if err := g.here().local.ReadLocal(func(st *shard.State, _ int64) {
			for range st.Letters {
				empty = false
				return
			}
		}); err != nil || !empty {
			return false
		}
	}
	return true
}

func equalSums(a, b map[uint16]uint64) bool {
	if len(a) != len(b) {
		return false
	}
	for slot, sum := range a {
		if b[slot] != sum {
			return false
		}
	}
	return true
}

func TestOpenRefuses(t *testing.T) {
	cfg := testConfig(t)
	s := open(t, cfg)
	if _, err := Open(cfg); err == nil {
		t.Error("Open of a directory in use succeeded")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"other shards":   func(c *Config) { c.Shards = 3 },
		"other node":     func(c *Config) { c.Node = "other" },
		"other log":      func(c *Config) { c.RaftLog = RaftLogBolt },
		"no such log":    func(c *Config) { c.RaftLog = "paper" },
		"no dir":         func(c *Config) { c.Dir = "" },
		"negative bound": func(c *Config) { c.OutboxBytes = -1 },
		"newer format": func(c *Config) {
			c.Dir = t.TempDir()
			if err := writeFile(c.Dir+"/belfry.json", dataInfo{Format: dataFormat + 1, Node: "node", Shards: 2, RaftLog: RaftLogWAL}); err != nil {
				t.Fatal(err)
			}
		},
		"older format": func(c *Config) {
			c.Dir = t.TempDir()
			if err := writeFile(c.Dir+"/belfry.json", dataInfo{Format: dataFormat - 1, Node: "node", Shards: 2, RaftLog: RaftLogWAL}); err != nil {
				t.Fatal(err)
			}
		},
		"no shards there": func(c *Config) {
			c.Dir, c.Shards = t.TempDir(), 0
			if err := writeFile(c.Dir+"/belfry.json", dataInfo{Format: dataFormat, Node: "node", RaftLog: RaftLogWAL}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := cfg
			change(&c)
			s, err := Open(c)
			if err == nil {
				s.Close()
				t.Fatal("Open succeeded")
			}
			t.Log(err)
		})
	}
}

func TestClosedStoreAnswers(t *testing.T) {
	s := open(t, testConfig(t))
	alice := userIn(s, 0, 0)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := s.Propose(context.Background(), message(alice, alice, 1))
	if !errors.Is(err, store.ErrUnavailable) || store.RetryAfter(err) <= 0 {
		t.Errorf("Propose = %v, retry after %v; want ErrUnavailable", err, store.RetryAfter(err))
	}
	if err := s.Since(alice, 0, 0, new(query.Updates), 1, 1); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Since = %v, want ErrUnavailable", err)
	}
	if err := s.Ready(); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Ready = %v, want ErrUnavailable", err)
	}
}
