package replica

import (
	"context"
	"strings"
	"testing"
	"time"
)

// A transfer ends with the named replica as leader, or with an error that says why not
// and a leader that goes on.
func TestTransfer(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		c := newTestCluster(t, 1, nil, "a", "b", "c")
		ctx := t.Context()
		for n := range 10 {
			from := c.leader()
			send(t, c.replica(from), n)
			to := c.others(from)[n%2]
			start := time.Now()
			if err := c.replica(from).Transfer(ctx, to); err != nil {
				t.Fatalf("from %s to %s: %v", from, to, err)
			}
			eventually(t, "it serves", func() bool { return c.replica(to).Leads() })
			if took := time.Since(start); took > 60*time.Millisecond {
				t.Errorf("transfer took %v", took)
			}
			if err := c.replica(from).Transfer(ctx, to); err == nil {
				t.Error("one that does not lead has transferred")
			}
		}
		from := c.leader()
		refused := func(to, want string) {
			t.Helper()
			_, term := c.replica(from).Leader()
			if err := c.replica(from).Fit(to); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Fit(%q) = %v, want %q", to, err, want)
			}
			err := c.replica(from).Transfer(ctx, to)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Transfer(%q) = %v, want %q", to, err, want)
			}
			if now := c.leader(); now != from || c.replica(from).Stamp().Term != term {
				t.Errorf("%s leads after a refused transfer, in another term", now)
			}
			send(t, c.replica(from), 11)
		}
		refused(from, "leads already")
		refused("x", "no member")
		others := c.others(from)
		eventually(t, "both are fit", func() bool { return c.replica(from).Fit(others[0]) == nil && c.replica(from).Fit(others[1]) == nil })
		if c.replica(others[0]).Fit(from) == nil {
			t.Error("to one that does not lead, another one is fit to take over")
		}
		c.kill(others[0])
		time.Sleep(time.Second)
		refused(others[0], "does not answer")
		// Its answers get lost, so that it is told, and cannot win.
		c.start(others[0])
		c.setDesired(Member{ID: "a"}, Member{ID: "b"}, Member{ID: "c"}, Member{ID: "d"})
		eventually(t, "d learns", func() bool { return len(c.replica(from).Members()) == 4 })
		refused("d", "no vote")
		c.setDesired(Member{ID: "a"}, Member{ID: "b"}, Member{ID: "c"})
		eventually(t, "d is removed", func() bool { return len(c.replica(from).Members()) == 3 })
		c.converged()
	})
}

// Commands that come during a transfer that fails are applied in their order, by the same
// leader in the same term.
func TestFailedTransferKeepsOrder(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		c := newTestCluster(t, 1, nil, "a", "b", "c")
		from := c.leader()
		to := c.others(from)[0]
		c.converged()
		r := c.replica(from)
		_, term := r.Leader()
		var answers answerLog
		c.net.set(func(n *testNet) { n.loseTimeoutNow = true })
		failed := make(chan error, 1)
		go func() { failed <- r.Transfer(context.Background(), to) }()
		for n := 1; n <= 200; n++ {
			answers.enqueue(t, r, term, n)
			time.Sleep(2 * time.Millisecond)
		}
		if err := <-failed; err == nil {
			t.Error("the transfer succeeded")
		}
		answers.wait(t, 200)
		if now := r.Stamp().Term; now != term {
			t.Errorf("term %d, want %d", now, term)
		}
	})
}

// A replica that closes hands over first: nobody waits for an election.
func TestCloseHandsOver(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		c := newTestCluster(t, 1, nil, "a", "b", "c")
		from := c.leader()
		c.converged()
		start := time.Now()
		c.shut(from)
		c.leader()
		if took := time.Since(start); took > 60*time.Millisecond {
			t.Errorf("the next leader served after %v", took)
		}
	})
}

// A replica campaigns at once when it is told that the leader has gone.
func TestCampaign(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		c := newTestCluster(t, 1, nil, "a", "b", "c")
		from := c.leader()
		c.converged()
		to := c.others(from)[0]
		c.kill(from)
		start := time.Now()
		if err := c.replica(to).Campaign(); err != nil {
			t.Fatal(err)
		}
		if now := c.leader(); now != to {
			t.Errorf("%s leads, want %s", now, to)
		}
		if took := time.Since(start); took > 100*time.Millisecond {
			t.Errorf("it served after %v", took)
		}
		_, term := c.replica(to).Leader()
		if err := c.replica(to).Campaign(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the leader begins a new term", func() bool { return c.leader() == to && c.replica(to).Stamp().Term > term })
		c.add("d", nil)
		if err := c.replica("d").Campaign(); err == nil {
			t.Error("a replica without a vote campaigned")
		}
	})
}
