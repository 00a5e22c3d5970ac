package replica

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
)

// fakeLog is what a proposer proposes to: it holds each batch until let go.
type fakeLog struct {
	proposed chan *batch
	verdict  chan error
}

func newFakeLog() *fakeLog {
	return &fakeLog{proposed: make(chan *batch, 100), verdict: make(chan error)}
}

func (l *fakeLog) propose(b *batch) func() error {
	b.seal(1)
	l.proposed <- b
	return func() error {
		err := <-l.verdict
		b.out.Results = make([]command.Result, b.commands)
		for i := range b.out.Results {
			b.out.Results[i].Seq = uint64(i + 1)
		}
		close(b.applied)
		return err
	}
}

// testProposer proposes to log, and holds maxBytes of commands. notify may be nil.
func testProposer(log func(*batch) func() error, maxBytes int, notify func(*shard.Outcome)) *proposer {
	if notify == nil {
		notify = func(*shard.Outcome) {}
	}
	return newProposer(log, nil, &Config{QueueBytes: maxBytes, Notify: notify}, NewMetrics().shard(0))
}

func TestProposerGathersWhileOneIsOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFakeLog()
		p := testProposer(log.propose, 1<<20, nil)
		var mu sync.Mutex
		var seqs []uint64
		add := func() {
			err := p.add([]byte("command"), Waiter{Done: func(r command.Result, err error) {
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Errorf("Done: %v", err)
				}
				seqs = append(seqs, r.Seq)
			}})
			if err != nil {
				t.Fatal(err)
			}
		}
		add()
		first := <-log.proposed
		for range 1000 {
			add()
		}
		synctest.Wait()
		if n := len(log.proposed); n != 0 {
			t.Fatalf("%d more batches proposed while one is on its way", n)
		}
		log.verdict <- nil
		second := <-log.proposed
		if first.commands != 1 || second.commands != 1000 {
			t.Errorf("batches of %d and %d commands, want 1 and 1000", first.commands, second.commands)
		}
		log.verdict <- nil
		p.close(true)
		if len(seqs) != 1001 || seqs[1] != 1 || seqs[1000] != 1000 {
			t.Errorf("%d answers, out of order", len(seqs))
		}
	})
}

func TestProposerBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFakeLog()
		p := testProposer(log.propose, 3*batchBytes, nil)
		answered := 0
		w := Waiter{Done: func(_ command.Result, err error) {
			if !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("Done: %v, want ErrUnavailable", err)
			}
			answered++
		}}
		if err := p.add(make([]byte, 2*batchBytes), w); err != nil { // larger than a batch: alone
			t.Fatal(err)
		}
		alone := <-log.proposed
		if len(alone.waiters) != 1 {
			t.Fatalf("large command shares a batch with %d others", len(alone.waiters)-1)
		}
		added := 1
		for ; added < 10000; added++ {
			if err := p.add(make([]byte, batchBytes/4), w); err != nil {
				if !errors.Is(err, store.ErrUnavailable) || store.RetryAfter(err) <= 0 {
					t.Fatalf("full queue: %v", err)
				}
				break
			}
		}
		if added < 10 || added > 14 {
			t.Errorf("%d commands of a quarter batch fit into three batches", added-1)
		}
		for _, b := range p.queue {
			if len(b.buf) > batchBytes {
				t.Errorf("batch of %d bytes", len(b.buf))
			}
		}
		done := make(chan struct{})
		go func() { p.close(false); close(done) }()
		synctest.Wait()
		log.verdict <- store.Unavailable(1, "no leader")
		<-done
		if answered != added {
			t.Errorf("%d of %d commands answered", answered, added)
		}
		if err := p.add(nil, Waiter{Read: true}); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("add after close: %v", err)
		}
	})
}

func TestProposerDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFakeLog()
		p := testProposer(log.propose, 1<<20, nil)
		var errs []error
		w := Waiter{Done: func(_ command.Result, err error) { errs = append(errs, err) }}
		p.add([]byte("a"), w)
		<-log.proposed
		p.add([]byte("b"), w)
		go func() {
			log.verdict <- nil
			<-log.proposed
			log.verdict <- store.ErrUnknown
		}()
		p.close(true)
		if len(errs) != 2 || errs[0] != nil || !errors.Is(errs[1], store.ErrUnknown) {
			t.Errorf("answers %v, want [nil unknown]", errs)
		}
	})
}

func TestPatientCommandsRideAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFakeLog()
		p := testProposer(log.propose, 1<<20, nil)
		var order []string
		add := func(name string, patience time.Duration) {
			err := p.add([]byte(name), Waiter{Patience: patience, Done: func(_ command.Result, err error) {
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
				order = append(order, name)
			}})
			if err != nil {
				t.Fatal(err)
			}
		}
		proposed := func(want string) {
			t.Helper()
			synctest.Wait()
			select {
			case b := <-log.proposed:
				if got := string(b.buf[headerRoom:]); got != want {
					t.Fatalf("proposed %q, want %q", got, want)
				}
				log.verdict <- nil
				synctest.Wait()
			default:
				if want != "" {
					t.Fatalf("nothing proposed, want %q", want)
				}
			}
		}
		add("a", 100*time.Millisecond)
		time.Sleep(50 * time.Millisecond)
		proposed("")
		add("b", 0)
		proposed("ab")

		add("c", 100*time.Millisecond)
		time.Sleep(60 * time.Millisecond) // the timer of a would have fired
		proposed("")
		add("d", 100*time.Millisecond)
		add("e", 20*time.Millisecond)
		time.Sleep(19 * time.Millisecond)
		proposed("")
		time.Sleep(time.Millisecond)
		proposed("cde")

		add("f", 0)
		synctest.Wait() // f is on its way
		add("g", 100*time.Millisecond)
		proposed("f")
		proposed("")
		time.Sleep(100 * time.Millisecond)
		proposed("g")

		add("h", time.Hour)
		go func() { log.verdict <- nil }()
		p.close(true)
		if got := strings.Join(order, ""); got != "abcdefgh" {
			t.Errorf("answered in the order %s", got)
		}
	})
}

// The disk comes first, then who waits for an answer, then who is to be told.
func TestProposerAnswersBeforeItNotifies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFakeLog()
		var events []string
		propose := func(b *batch) func() error {
			events = append(events, "propose "+string(b.buf[headerRoom:]))
			return log.propose(b)
		}
		p := testProposer(propose, 1<<20, func(*shard.Outcome) { events = append(events, "notify") })
		for _, name := range []string{"a", "b"} {
			if err := p.add([]byte(name), Waiter{Done: func(command.Result, error) { events = append(events, "answer "+name) }}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		log.verdict <- nil
		log.verdict <- store.ErrUnknown // not known to have been applied: nobody is told
		p.close(true)
		if got, want := strings.Join(events, ", "), "propose a, propose b, answer a, notify, answer b"; got != want {
			t.Errorf("%s; want %s", got, want)
		}
	})
}

// A queue of patient commands is bounded as any other, does not outgrow a
// batch, and is answered when it is not to be proposed any more.
func TestPatientCommandsBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newFakeLog()
		p := testProposer(log.propose, 3*batchBytes, nil)
		refused := 0
		w := Waiter{Patience: time.Hour, Done: func(_ command.Result, err error) {
			if errors.Is(err, store.ErrUnavailable) {
				refused++
			}
		}}
		added := 0
		for ; added < 10000; added++ {
			if err := p.add(make([]byte, batchBytes/4), w); err != nil {
				break
			}
			if synctest.Wait(); added < 3 && len(log.proposed) > 0 {
				t.Fatalf("proposed after %d", added+1)
			}
		}
		if added < 10 || added > 17 {
			t.Errorf("%d commands of a quarter batch fit into three batches and one on its way", added)
		}
		if len(log.proposed) != 1 {
			t.Errorf("%d batches proposed, want 1", len(log.proposed))
		}
		closed := make(chan struct{})
		go func() { p.close(false); close(closed) }()
		synctest.Wait()
		log.verdict <- nil
		<-closed
		if first := len((<-log.proposed).waiters); first == 0 || refused != added-first {
			t.Errorf("%d of %d refused, %d proposed", refused, added, first)
		}
	})
}
