package replica

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// The history of a conversation, in which some users' devices send to one user, who
// reads, is checked against this model.
type (
	convInput struct {
		conv int
		kind string // "send", "mark" or "read"
		cid  string // of a message to send
		seq  uint64 // to mark as read
	}
	convOutput struct {
		seq    uint64 // of the message sent
		cids   string // of the messages read, in order of seq
		marked uint64 // read cursor
	}
	convState struct {
		cids   string // each followed by a space
		marked uint64
	}
)

var convModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		parts := make(map[int][]porcupine.Operation)
		for _, op := range history {
			conv := op.Input.(convInput).conv
			parts[conv] = append(parts[conv], op)
		}
		var all [][]porcupine.Operation
		for _, part := range parts {
			all = append(all, part)
		}
		return all
	},
	Init: func() any { return convState{} },
	Step: func(state, input, output any) (bool, any) {
		s, in := state.(convState), input.(convInput)
		out, known := output.(convOutput) // else the outcome is not known
		cids := strings.Fields(s.cids)
		switch in.kind {
		case "send":
			at := slices.Index(cids, in.cid)
			if at < 0 {
				at = len(cids)
				s.cids += in.cid + " "
			}
			return !known || out.seq == uint64(at+1), s
		case "mark":
			s.marked = max(s.marked, min(in.seq, uint64(len(cids))))
			return true, s
		default:
			return !known || out.cids == s.cids && out.marked == s.marked, s
		}
	},
}

// A planted bug is one of the test itself, which the check has to find.
type planted string

const (
	noBug       planted = ""
	noDedupe    planted = "a repeated message gets an id of its own"
	staleReads  planted = "reads are answered by any replica"
	conflicting         = " again" // ends the id of a message that noDedupe repeats
)

// A recorder runs devices against a cluster, and records what they do.
type recorder struct {
	c     *testCluster
	bug   planted
	clock atomic.Int64 // many calls share an instant in a bubble

	mu      sync.Mutex
	rng     *rand.Rand
	history []porcupine.Operation
	acked   map[int]map[string]uint64 // cid to seq, by conversation
}

func (r *recorder) random(n int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rng.IntN(n)
}

const giveUp = 20 * time.Second

// do records one operation. attempt is called until it does not fail, or for so long that
// the outcome stays unknown.
func (r *recorder) do(client int, in convInput, attempt func(*Replica) (convOutput, error)) (out convOutput, ok bool) {
	op := porcupine.Operation{ClientId: client, Input: in, Call: r.clock.Add(1), Return: math.MaxInt64}
	for end := time.Now().Add(giveUp); !ok && time.Now().Before(end); {
		leaders := r.c.leaders()
		if len(leaders) == 0 {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		// One that does not know yet that it leads no more is as good as another.
		var err error
		if out, err = attempt(leaders[r.random(len(leaders))]); err != nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		ok = true
		op.Output, op.Return = out, r.clock.Add(1)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history = append(r.history, op)
	if ok && in.kind == "send" {
		if r.acked[in.conv] == nil {
			r.acked[in.conv] = make(map[string]uint64)
		}
		r.acked[in.conv][in.cid] = out.seq
	}
	return out, ok
}

func convUsers(conv int) (from, to command.UserID) {
	return command.UserID(fmt.Sprint("from", conv)), command.UserID(fmt.Sprint("to", conv))
}

func (r *recorder) send(client, conv, n int) {
	from, to := convUsers(conv)
	cid := fmt.Sprintf("%d.%d", client, n)
	cmd := &command.Send{User: from, To: to, ID: command.MsgID{13: byte(client), 14: byte(n >> 8), 15: byte(n)}, CID: cid, Body: []byte{0xc0}}
	r.do(client, convInput{conv: conv, kind: "send", cid: cid}, func(at *Replica) (convOutput, error) {
		result, err := commit(at, cmd)
		if r.bug == noDedupe && r.random(5) == 0 {
			repeat := *cmd
			repeat.CID, repeat.ID[0] = cid+conflicting, 1
			result, err = commit(at, &repeat)
		}
		return convOutput{seq: result.Seq}, err
	})
}

// commit proposes a command, and waits for its result.
func commit(r *Replica, cmd command.Command) (result command.Result, err error) {
	done := make(chan struct{})
	refused := r.Enqueue(0, command.AppendCommand(nil, cmd), Waiter{Done: func(got command.Result, failed error) {
		result, err = got, failed
		close(done)
	}})
	if refused != nil {
		return result, refused
	}
	<-done
	if err == nil {
		err = result.Err()
	}
	return result, err
}

func (r *recorder) mark(client, conv int, seq uint64) {
	from, to := convUsers(conv)
	r.do(client, convInput{conv: conv, kind: "mark", seq: seq}, func(at *Replica) (convOutput, error) {
		_, err := commit(at, &command.ReadReport{User: to, Peer: from, Seq: seq})
		return convOutput{}, err
	})
}

func (r *recorder) read(client, conv int) (convOutput, bool) {
	return r.do(client, convInput{conv: conv, kind: "read"}, func(at *Replica) (convOutput, error) {
		if r.bug == staleReads {
			ids := r.c.running()
			return readConv(r.c.replica(ids[r.random(len(ids))]).readAnyhow, conv)
		}
		ctx, cancel := context.WithTimeout(context.Background(), giveUp)
		defer cancel()
		return readConv(func(q ...query.Query) error { return at.ReadCommitted(ctx, q...) }, conv)
	})
}

// readAnyhow answers queries from the state of this replica, whether it leads or not.
func (r *Replica) readAnyhow(q ...query.Query) (err error) {
	r.Inspect(func(s *shard.State, now int64) { err = answer(s, now, q) })
	return err
}

// readConv reads a conversation as its receiver sees it.
func readConv(read func(...query.Query) error, conv int) (out convOutput, err error) {
	from, to := convUsers(conv)
	page := query.History{HistoryQuery: query.HistoryQuery{User: to, Peer: from, HasAfter: true, Limit: 100, MaxBytes: 1 << 20}, Page: new(query.Page)}
	list := query.Conversations{User: to, Limit: 1, MaxBytes: 1 << 20}
	if err := read(&page, &list); err != nil {
		if _, refused := errors.AsType[*command.RefusedError](err); refused {
			return convOutput{}, nil // there is no such user yet
		}
		return out, err
	}
	for _, m := range page.Page.Updates.Messages {
		out.cids += strings.TrimSuffix(string(m.CID), conflicting) + " "
	}
	if len(list.List.Conversations) > 0 {
		out.marked = list.List.Conversations[0].ReadSeq
	}
	return out, nil
}

// device does n random things in one conversation.
func (r *recorder) device(client, conv, n int) {
	for i := range n {
		switch r.random(5) {
		case 0, 1, 2:
			r.send(client, conv, i)
		case 3:
			if out, ok := r.read(client, conv); ok && out.cids != "" {
				r.mark(client, conv, uint64(1+r.random(len(strings.Fields(out.cids)))))
			}
		case 4:
			r.read(client, conv)
		}
		time.Sleep(time.Duration(r.random(200)) * time.Millisecond)
	}
}

// disturb breaks things, one at a time, until end is closed, and leaves all whole.
func (c *testCluster) disturb(rng *rand.Rand, end <-chan struct{}) {
	pause := func(most time.Duration) bool {
		select {
		case <-end:
			return false
		case <-time.After(time.Duration(rng.Int64N(int64(most)))):
			return true
		}
	}
	for pause(time.Second) {
		id := c.ids()[rng.IntN(len(c.ids()))]
		if leaders := c.leaders(); len(leaders) > 0 && rng.IntN(2) == 0 {
			id = leaders[len(leaders)-1].cfg.ID
		}
		switch rng.IntN(9) {
		case 0:
			c.net.isolate(id, c.ids(), true, true)
		case 1:
			c.net.isolate(id, c.ids(), true, false)
		case 2:
			c.net.isolate(id, c.ids(), false, true)
		case 3:
			c.net.set(func(n *testNet) { n.drop, n.delay = 0.2, 20*time.Millisecond })
		case 4:
			c.kill(id)
			pause(2 * time.Second)
			c.start(id)
		case 5:
			c.shut(id)
			pause(2 * time.Second)
			c.start(id)
		case 6:
			_ = c.replica(id).Transfer(context.Background(), "") // which may not lead
		case 7:
			_ = c.replica(id).Campaign()
		case 8: // their logs are kept back to the older one, with tails that conflict
			for _, id := range c.ids() {
				if in := c.replica(id).instance.Load(); in != nil {
					_ = in.snapshot() // of nothing new
				}
			}
		}
		pause(2 * time.Second)
		c.net.heal()
	}
}

// record runs devices while the cluster is disturbed, heals it, and checks what does not
// need the history: that all replicas have the same state, and all that was acknowledged,
// once, and in the order of each device.
func record(t *testing.T, seed uint64, kind string, bug planted) []porcupine.Operation {
	const convs, devices, actions = 3, 3, 14
	var rec *recorder
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, seed, func(cfg *Config) { cfg.RaftLog = kind }, "a", "b", "c")
		c.leader()
		rec = &recorder{c: c, bug: bug, rng: rand.New(rand.NewPCG(seed, 2)), acked: make(map[int]map[string]uint64)}
		end := make(chan struct{})
		var nemesis, clients sync.WaitGroup
		nemesis.Go(func() { c.disturb(rand.New(rand.NewPCG(seed, 3)), end) })
		for client := range convs * devices {
			clients.Go(func() { rec.device(client, client%convs, actions) })
		}
		clients.Wait()
		close(end)
		nemesis.Wait()
		c.converged()
		if n := c.failures(); n > 0 {
			t.Errorf("%d replicas were opened again", n)
		}
		for conv := range convs {
			out, ok := rec.read(100+conv, conv)
			if !ok {
				t.Fatal("no read after the cluster has healed")
			}
			if bug == noBug {
				rec.checkAcked(t, conv, strings.Fields(out.cids))
			}
		}
	})
	return rec.history
}

// checkAcked compares the messages of a conversation with those that were acknowledged.
func (r *recorder) checkAcked(t *testing.T, conv int, cids []string) {
	last := make(map[string]int) // number of a device's message before
	for at, cid := range cids {
		device, number, _ := strings.Cut(cid, ".")
		n, err := strconv.Atoi(number)
		if err != nil {
			t.Fatal(err)
		}
		if before, ok := last[device]; ok && n <= before {
			t.Errorf("conversation %d: message %s comes after %s.%d: %v", conv, cid, device, before, cids)
		}
		last[device] = n
		if seq, ok := r.acked[conv][cid]; ok && seq != uint64(at+1) {
			t.Errorf("conversation %d: message %s has seq %d, acknowledged as %d", conv, cid, at+1, seq)
		}
		delete(r.acked[conv], cid)
	}
	for cid := range r.acked[conv] {
		t.Errorf("conversation %d: message %s was acknowledged and is not there", conv, cid)
	}
}

// clusterSeeds is how many runs TestLinearizable makes: BELFRY_CLUSTER_SEEDS, or a few.
func clusterSeeds(t *testing.T) int {
	text := os.Getenv("BELFRY_CLUSTER_SEEDS")
	if text == "" {
		if testing.Short() {
			return 2
		}
		return 6
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("BELFRY_CLUSTER_SEEDS: %q is no number above 0", text)
	}
	return n
}

// checkWithin bounds the check of a history.
const checkWithin = time.Minute

// What devices see of a cluster that is partitioned, killed and handed over is what one
// that is always well could have shown.
func TestLinearizable(t *testing.T) {
	for seed := range clusterSeeds(t) {
		kind := logKinds[seed%len(logKinds)]
		t.Run(fmt.Sprintf("seed=%d,%s", seed+1, kind), func(t *testing.T) {
			history := record(t, uint64(seed+1), kind, noBug)
			if got := porcupine.CheckOperationsTimeout(convModel, history, checkWithin); got != porcupine.Ok {
				t.Errorf("check of %d operations: %v", len(history), got)
			}
		})
	}
}

// The check finds bugs that are planted.
func TestCheckFindsPlantedBugs(t *testing.T) {
	for _, bug := range []planted{noDedupe, staleReads} {
		t.Run(string(bug), func(t *testing.T) {
			for seed := range 5 {
				history := record(t, uint64(seed+1), LogWAL, bug)
				if porcupine.CheckOperationsTimeout(convModel, history, checkWithin) == porcupine.Illegal {
					return
				}
			}
			t.Error("five histories passed")
		})
	}
}
