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
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// The history of a conversation or group, in which some devices of a user send to another
// one, who reads and logs in, is checked against this model.
type (
	convInput struct {
		conv   int
		kind   string // "send", "recall", "mark", "read", "login" or "sessions"
		cid    string // of a message to send
		seq    uint64 // to mark as read, or to recall
		device string // that logs in
	}
	convOutput struct {
		seq      uint64            // of the message sent
		cids     string            // of the messages read, in order of seq, recalled for one that is
		marked   uint64            // read cursor
		session  command.SessionID // of the login
		sessions string            // as in convState
	}
	convState struct {
		cids     string // each followed by a space
		recalled string // seqs, ascending, each followed by a space
		marked   uint64
		sessions string            // device:number, each followed by a space, in order of login
		last     command.SessionID // number given
	}
)

// recalled stands for a message that was.
const recalled = "-"

// read returns what a read of the conversation shows.
func (s convState) read() string {
	cids := strings.Fields(s.cids)
	for _, seq := range strings.Fields(s.recalled) {
		n, _ := strconv.Atoi(seq)
		cids[n-1] = recalled
	}
	return spaced(cids)
}

// login returns the state after a login of a device, which ends its session before.
func (s convState) login(device string) convState {
	s.last++
	sessions := slices.DeleteFunc(strings.Fields(s.sessions), func(one string) bool { return strings.HasPrefix(one, device+":") })
	s.sessions = spaced(append(sessions, fmt.Sprint(device, ":", s.last)))
	return s
}

func spaced(words []string) (text string) {
	for _, w := range words {
		text += w + " "
	}
	return text
}

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
		case "recall":
			seqs := append(strings.Fields(s.recalled), fmt.Sprintf("%03d", in.seq))
			slices.Sort(seqs)
			s.recalled = spaced(slices.Compact(seqs))
			return in.seq <= uint64(len(cids)), s
		case "login":
			s = s.login(in.device)
			return !known || out.session == s.last, s
		case "sessions":
			return !known || out.sessions == s.sessions, s
		case "mark":
			s.marked = max(s.marked, min(in.seq, uint64(len(cids))))
			return true, s
		default:
			return !known || out.cids == s.read() && out.marked == s.marked, s
		}
	},
}

// A planted bug is one of the test itself, which the check has to find.
type planted string

const (
	noBug       planted = ""
	noDedupe    planted = "a repeated message gets an id of its own"
	staleReads  planted = "reads are answered by any replica"
	lostRecalls planted = "a recall is answered and does not happen"
	twoLogins   planted = "a login that is repeated begins two sessions"
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
// the outcome stays unknown. A login has another effect each time, so that a failed attempt
// whose outcome is not known is an operation of its own.
func (r *recorder) do(client int, in convInput, attempt func(*Replica) (convOutput, error)) (out convOutput, ok bool) {
	begin := func() porcupine.Operation {
		return porcupine.Operation{ClientId: client, Input: in, Call: r.clock.Add(1), Return: math.MaxInt64}
	}
	op := begin()
	for end := time.Now().Add(giveUp); !ok && time.Now().Before(end); {
		leaders := r.c.leaders()
		if len(leaders) == 0 {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		// One that does not know yet that it leads no more is as good as another.
		var err error
		if out, err = attempt(leaders[r.random(len(leaders))]); err != nil {
			if in.kind == "login" && !errors.Is(err, store.ErrUnavailable) {
				r.add(op)
				op = begin()
			}
			time.Sleep(10 * time.Millisecond)
			continue
		}
		ok = true
		op.Output, op.Return = out, r.clock.Add(1)
	}
	r.add(op)
	r.mu.Lock()
	defer r.mu.Unlock()
	if ok && in.kind == "send" {
		if r.acked[in.conv] == nil {
			r.acked[in.conv] = make(map[string]uint64)
		}
		r.acked[in.conv][in.cid] = out.seq
	}
	return out, ok
}

func (r *recorder) add(op porcupine.Operation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history = append(r.history, op)
}

func convUsers(conv int) (from, to command.UserID) {
	return command.UserID(fmt.Sprint("from", conv)), command.UserID(fmt.Sprint("to", conv))
}

// convGroup returns the group that a conversation is, instead of one of two users; "" if it
// is none.
func convGroup(conv int) command.GroupID {
	if conv == 2 {
		return "team"
	}
	return ""
}

// makeGroup makes the group that a conversation is.
func (r *recorder) makeGroup(t *testing.T, conv int) {
	from, to := convUsers(conv)
	cmd := &command.CreateGroup{
		Group: convGroup(conv), By: from, Owner: from, Kind: command.GroupPublic,
		Settings: command.GroupPublic.Settings(), Members: []command.UserID{to},
	}
	if _, err := commit(r.c.replica(r.c.leader()), cmd); err != nil {
		t.Fatal(err)
	}
}

func (r *recorder) send(client, conv, n int) {
	from, to := convUsers(conv)
	cid := fmt.Sprintf("%d.%d", client, n)
	message := func(cid string, again byte) command.Command {
		id, body := command.MsgID{0: again, 13: byte(client), 14: byte(n >> 8), 15: byte(n)}, []byte{0xc0}
		if group := convGroup(conv); group != "" {
			return &command.SendGroup{Group: group, User: from, ID: id, CID: cid, Body: body}
		}
		return &command.Send{User: from, To: to, ID: id, CID: cid, Body: body}
	}
	r.do(client, convInput{conv: conv, kind: "send", cid: cid}, func(at *Replica) (convOutput, error) {
		result, err := commit(at, message(cid, 0))
		if r.bug == noDedupe && r.random(5) == 0 {
			result, err = commit(at, message(cid+conflicting, 1))
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

func (r *recorder) recall(client, conv int, seq uint64) {
	from, to := convUsers(conv)
	r.do(client, convInput{conv: conv, kind: "recall", seq: seq}, func(at *Replica) (convOutput, error) {
		if r.bug == lostRecalls && r.random(5) == 0 {
			return convOutput{}, nil
		}
		var cmd command.Command = &command.Recall{User: from, Peer: to, Seq: seq}
		if group := convGroup(conv); group != "" {
			cmd = &command.RecallGroup{Group: group, By: from, Seq: seq}
		}
		_, err := commit(at, cmd)
		return convOutput{}, err
	})
}

func (r *recorder) login(client, conv int) {
	_, to := convUsers(conv)
	device := fmt.Sprint("device", r.random(2))
	r.do(client, convInput{conv: conv, kind: "login", device: device}, func(at *Replica) (convOutput, error) {
		result, err := commit(at, &command.Login{User: to, Device: device})
		if r.bug == twoLogins && err == nil && r.random(5) == 0 {
			_, err = commit(at, &command.Login{User: to, Device: device})
		}
		return convOutput{session: result.Session}, err
	})
}

func (r *recorder) sessions(client, conv int) {
	_, to := convUsers(conv)
	r.do(client, convInput{conv: conv, kind: "sessions"}, func(at *Replica) (out convOutput, err error) {
		ctx, cancel := context.WithTimeout(context.Background(), giveUp)
		defer cancel()
		q := query.Sessions{User: to}
		if err := at.ReadCommitted(ctx, &q); err != nil {
			if _, refused := errors.AsType[*command.RefusedError](err); refused {
				return convOutput{}, nil // there is no such user yet
			}
			return out, err
		}
		for _, s := range q.Sessions {
			out.sessions += fmt.Sprint(s.Device, ":", s.Number, " ")
		}
		return out, nil
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
	if group := convGroup(conv); group != "" {
		page.Peer, page.Group = "", group
	}
	list := query.Conversations{User: to, Limit: 1, MaxBytes: 1 << 20}
	if err := read(&page, &list); err != nil {
		if _, refused := errors.AsType[*command.RefusedError](err); refused {
			return convOutput{}, nil // there is no such user yet
		}
		return out, err
	}
	var cids []string
	upTo := func(seq uint64) {
		for uint64(len(cids)) < seq {
			cids = append(cids, recalled)
		}
	}
	for _, m := range page.Page.Updates.Messages {
		upTo(m.Seq - 1)
		cids = append(cids, strings.TrimSuffix(string(m.CID), conflicting))
	}
	for _, g := range page.Page.Gaps {
		if g.Reason != query.GapRecalled {
			return out, fmt.Errorf("messages %d to %d are missing: %v", g.From, g.To, g.Reason)
		}
		upTo(g.To)
	}
	out.cids = spaced(cids)
	if len(list.List.Conversations) > 0 {
		out.marked = list.List.Conversations[0].ReadSeq
	}
	return out, nil
}

// device does n random things in one conversation.
func (r *recorder) device(client, conv, n int) {
	for i := range n {
		switch r.random(8) {
		case 0, 1, 2, 3:
			r.send(client, conv, i)
		case 4:
			out, ok := r.read(client, conv)
			if !ok || out.cids == "" {
				break
			}
			seq := uint64(1 + r.random(len(strings.Fields(out.cids))))
			if convGroup(conv) == "" && r.random(2) == 0 {
				r.mark(client, conv, seq)
			} else {
				r.recall(client, conv, seq)
			}
		case 5:
			r.read(client, conv)
		case 6:
			r.login(client, conv)
		case 7:
			r.sessions(client, conv)
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
		rec.makeGroup(t, 2)
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
		if cid == recalled {
			continue
		}
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
	for cid, seq := range r.acked[conv] {
		if seq > uint64(len(cids)) || cids[seq-1] != recalled {
			t.Errorf("conversation %d: message %s was acknowledged and is not there", conv, cid)
		}
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
	for _, bug := range []planted{noDedupe, staleReads, lostRecalls, twoLogins} {
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
