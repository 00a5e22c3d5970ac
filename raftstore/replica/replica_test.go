package replica

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
)

var logKinds = []string{LogWAL, LogBolt, LogShared}

// idleLeader leads a shard that has nothing to do beside its commands.
type idleLeader struct{}

func (idleLeader) Begin(*shard.State)        {}
func (idleLeader) Wanted() shard.ChangeKinds { return 0 }
func (idleLeader) Applied(*shard.Outcome)    {}
func (idleLeader) Run(context.Context)       {}
func (idleLeader) Close()                    {}

// testConfig is a replica of all slots in a directory of the test's own.
func testConfig(t testing.TB, id uint32) Config {
	return Config{
		Shard: id, Slots: command.OpenSlots{Epoch: 1, Slots: []command.SlotRange{{Last: command.Slots - 1}}}, Dir: filepath.Join(t.TempDir(), fmt.Sprint("shard-", id)), ID: "node",
		RaftLog: LogWAL,
		Configuration: func() command.Configure {
			return command.Configure{Version: 1, Limits: command.Limits{NewConversations: -1}.WithDefaults(), Epoch: 1}
		},
		QueueBytes: 1 << 20, SnapshotBytes: 1 << 40, SegmentBytes: DefaultSegmentBytes, ExpireEvery: time.Minute,
		Clock: SystemClock(), ClockSettle: time.Minute,
		Lead:    func(func([]byte, Waiter) error) Leader { return idleLeader{} },
		Notify:  func(*shard.Outcome) {},
		Log:     slog.New(slog.DiscardHandler),
		Metrics: NewMetrics(),
	}
}

// start opens a replica, and returns it and what closes it again.
func start(t testing.TB, cfg Config) (r *Replica, stop func()) {
	t.Helper()
	r = New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() { r.Run(ctx) })
	stop = sync.OnceFunc(func() { cancel(); run.Wait() })
	t.Cleanup(stop)
	if err := r.Opened(); err != nil {
		t.Fatal(err)
	}
	if cfg.Transport == nil { // else the test changes leaders itself
		changeLeader(t, r)
	}
	return r, stop
}

// eventually polls until ok, with a deadline that only a broken build reaches.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 5 minutes: %s", what)
		}
	}
}

// propose commits a command.
func propose(r *Replica, cmd command.Command) error {
	done := make(chan error, 1)
	err := r.Enqueue(0, command.AppendCommand(nil, cmd), Waiter{Done: func(result command.Result, err error) {
		if err == nil {
			err = result.Err()
		}
		done <- err
	}})
	if err != nil {
		return err
	}
	return <-done
}

// send commits the nth message from alice to bob.
func send(t testing.TB, r *Replica, n int) {
	t.Helper()
	if err := propose(r, message(n)); err != nil {
		t.Fatalf("message %d: %v", n, err)
	}
}

func message(n int) *command.Send {
	id := command.MsgID{14: byte(n >> 8), 15: byte(n)}
	return &command.Send{User: "alice", To: "bob", ID: id, CID: fmt.Sprint("c", n), Body: []byte{0xc0}}
}

// checksum hashes all slots.
func checksum(r *Replica) (sum uint64) {
	r.Inspect(func(s *shard.State, _ int64) {
		for slot := range uint16(command.Slots) {
			sum = sum*31 + s.Checksum(slot)
		}
	})
	return sum
}

// A stopped replica takes no snapshot and says why it has stopped.
func TestStoppedReplica(t *testing.T) {
	r, _ := start(t, testConfig(t, 0))
	send(t, r, 1)
	if err := r.Enqueue(0, []byte{0xff}, Waiter{}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(r.cfg.Dir, StoppedFile)
	eventually(t, "the reason is written", func() bool { _, err := os.Stat(path); return err == nil })
	if _, err := (fsm{Replica: r}).Snapshot(); err == nil {
		t.Error("Snapshot of a stopped replica succeeded")
	}
	if err := propose(r, message(2)); err == nil {
		t.Error("a stopped replica took a command")
	}
	if err := r.Suspend(); err == nil {
		t.Error("a stopped replica was suspended")
	}
}

// A read panics: the replica stops and the caller is told.
func TestPanicInRead(t *testing.T) {
	r, _ := start(t, testConfig(t, 0))
	if err := r.ReadLocal(func(*shard.State, int64) { panic("planted") }); err == nil {
		t.Error("Read succeeded")
	}
	if err := propose(r, message(1)); err == nil {
		t.Error("a stopped replica took a command")
	}
}
