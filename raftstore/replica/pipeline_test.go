package replica

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
)

// A pipelineTest is a proposer with a pipeline in a bubble, and the log it proposes to.
type pipelineTest struct {
	*testing.T
	log     *fakeLog
	p       *proposer
	writing atomic.Bool
	answers []string // "a" or, of one that has failed, "a!", in order
}

func newPipelineTest(t *testing.T) *pipelineTest {
	x := &pipelineTest{T: t, log: newFakeLog()}
	x.p = newProposer(x.log.propose, x.writing.Load, &Config{QueueBytes: 16 << 20, Notify: func(*shard.Outcome) {}}, NewMetrics().shard(0))
	return x
}

func (x *pipelineTest) add(name string) {
	x.Helper()
	err := x.p.add([]byte(name), Waiter{Done: func(_ command.Result, err error) {
		name := name[:1]
		if err != nil {
			name += "!"
		}
		x.answers = append(x.answers, name)
	}})
	if err != nil {
		x.Fatal(err)
	}
}

// launched checks what has been proposed since the last call.
func (x *pipelineTest) launched(want ...string) {
	x.Helper()
	synctest.Wait()
	var got []string
	for len(x.log.proposed) > 0 {
		got = append(got, string((<-x.log.proposed).buf[headerRoom:]))
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		x.Fatalf("proposed %q, want %q", got, want)
	}
}

func (x *pipelineTest) answered(want string) {
	x.Helper()
	synctest.Wait()
	if got := strings.Join(x.answers, ""); got != want {
		x.Errorf("answered %q, want %q", got, want)
	}
}

func TestPipeline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newPipelineTest(t)
		x.add("a")
		x.launched("a")
		x.add("b")
		x.add("c")
		time.Sleep(followSmall - time.Microsecond)
		x.launched()
		x.add("d")
		time.Sleep(time.Microsecond)
		x.launched("bcd")

		// The log is being written: nothing else follows, however long that takes.
		x.writing.Store(true)
		x.add("e")
		time.Sleep(2 * followSmall)
		x.launched()
		x.writing.Store(false)
		x.p.wrote()
		x.launched("e")

		x.add("f")
		time.Sleep(followSmall)
		x.launched("f")
		x.add("g") // as many are on their way as may be
		time.Sleep(2 * followSmall)
		x.launched()
		x.add("h")
		x.log.verdict <- nil
		x.launched("gh")
		x.answered("a")

		// What follows nothing goes at once, and answers come in order.
		for range 4 {
			x.log.verdict <- nil
		}
		x.answered("abcdefgh")
		x.add("i")
		x.launched("i")
		x.log.verdict <- nil
		x.p.close(true)
		x.answered("abcdefghi")
	})
}

// A small entry waits for the one before it, or for followSmall; a large one does not.
func TestPipelineOfSmallEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newPipelineTest(t)
		x.add("a")
		x.launched("a")
		x.add("b")
		time.Sleep(followSmall / 2)
		x.launched()
		x.log.verdict <- nil
		x.launched("b")

		// Large is what has as many commands as are on their way, but followCommands at least.
		time.Sleep(followAfter)
		fill := func(name string, n int) {
			for range n - 1 {
				x.add(name)
			}
			x.launched()
			x.add(name)
		}
		fill("c", followCommands)
		x.launched(strings.Repeat("c", followCommands))
		time.Sleep(followAfter)
		fill("d", followCommands+1)
		x.launched(strings.Repeat("d", followCommands+1))
		time.Sleep(followAfter)
		fill("e", followCommands+2)
		x.launched() // fewer than are on their way
		x.log.verdict <- nil
		x.launched() // still, without b
		x.log.verdict <- nil
		x.launched(strings.Repeat("e", followCommands+2))
		closed := make(chan struct{})
		go func() { x.p.close(true); close(closed) }()
		for range 2 {
			x.log.verdict <- nil
		}
		<-closed
	})
}

// A batch that is full has nothing to wait for.
func TestPipelineOfFullBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newPipelineTest(t)
		large := strings.Repeat("x", batchBytes)
		x.add("a")
		x.launched("a")
		for _, name := range []string{"b", "c", "d"} {
			x.add(name + large)
		}
		x.launched("b"+large, "c"+large) // d could be joined by others
		time.Sleep(followSmall)
		x.launched("d" + large)
		closed := make(chan struct{})
		go func() { x.p.close(true); close(closed) }()
		for range 4 {
			x.log.verdict <- nil
		}
		<-closed
		x.answered("abcd")
	})
}

// TestPipelineEndsBehindRefused has Raft not take an entry while another one is on its
// way: what comes later must not overtake it.
func TestPipelineEndsBehindRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newPipelineTest(t)
		x.p.propose = func(b *batch) func() error {
			b.refused = string(b.buf[headerRoom:]) == "b"
			return x.log.propose(b)
		}
		for _, name := range []string{"a", "b"} {
			x.add(name)
			x.launched(name)
			time.Sleep(followSmall)
		}
		if err := x.p.add([]byte("c"), Waiter{}); !errors.Is(err, store.ErrNotLeader) {
			t.Errorf("add behind what Raft did not take: %v, want ErrNotLeader", err)
		}
		time.Sleep(followSmall)
		x.launched()
		x.log.verdict <- nil
		x.log.verdict <- store.NotLeader("not taken")
		x.answered("ab!")
		x.p.close(true)
		x.launched()
	})
}

// After an entry has failed, those behind it get their own outcomes, and nothing else is
// proposed: it would overtake what is sent again.
func TestPipelineFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newPipelineTest(t)
		for _, name := range []string{"a", "b", "c"} {
			x.add(name)
			x.launched(name)
			time.Sleep(followSmall)
		}
		x.writing.Store(true)
		x.add("d")
		x.launched()
		x.log.verdict <- nil
		x.log.verdict <- store.ErrUnknown
		synctest.Wait()
		select {
		case <-x.p.spent:
		default:
			t.Error("the leadership is not told to end")
		}
		if err := x.p.add([]byte("e"), Waiter{}); !errors.Is(err, store.ErrNotLeader) {
			t.Errorf("add after a failure: %v, want ErrNotLeader", err)
		}
		x.writing.Store(false)
		x.p.wrote()
		x.launched()
		x.answered("ab!")
		x.log.verdict <- nil // it was applied all the same
		x.answered("ab!c")
		x.p.close(true)
		x.launched()
		x.answered("ab!cd!")
	})
}
