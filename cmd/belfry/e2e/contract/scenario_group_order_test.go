package contract

// Scenario 25's rule within groups: all members see one order, in which nobody's
// messages change places.

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

// Everybody writes at once, many messages under way, to groups on all shards.
func TestScenario25OneOrderInGroups(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.StartRace(t, "--group-rate=0"), func(t *testing.T, w *world) {
		const each = 60
		users := []string{w.alice, w.bob, w.carol}
		var writers []*device
		var watchers []*observer
		for _, user := range users {
			writers = append(writers, w.online(user, "phone", nil))
		}
		for _, kind := range []string{"private", "public", "chatroom"} {
			id := w.groupOf(writers[0], kind, w.bob, w.carol)
			conv := "g:" + id
			watchers = watchers[:0]
			for _, user := range users { // two other devices each
				for _, device := range []string{"laptop", "tablet"} {
					watchers = append(watchers, observe(w.online(user, device+kind, nil)))
				}
			}
			sent := map[int64]string{}
			var waits []func() map[int64]string
			for i, c := range writers {
				waits = append(waits, c.Background(conv, fmt.Sprintf("%c", 'a'+i), each, cidBody))
			}
			for _, wait := range waits {
				for seq, cid := range wait() {
					if other, taken := sent[seq]; taken {
						t.Fatalf("seq %d is %s and %s", seq, other, cid)
					}
					sent[seq] = cid
				}
			}
			total := int64(each * len(writers))
			next := map[byte]int{}
			for seq := int64(1); seq <= total; seq++ {
				cid := sent[seq]
				if cid == "" || cid != fmt.Sprintf("%c%d", cid[0], next[cid[0]]) {
					t.Fatalf("seq %d is %q, want the sender's number %d", seq, cid, next[cid[0]])
				}
				next[cid[0]]++
			}
			for _, o := range watchers {
				o.until(total)
				for i, seq := range o.seqs {
					if seq != int64(i+1) || o.cids[seq] != sent[seq] {
						t.Fatalf("%s: message %d has seq %d and cid %s, want %s", o.Name(), i+1, seq, o.cids[seq], sent[seq])
					}
				}
				o.Logout()
			}
			// The writing devices have theirs by replies and the rest by push.
			for i, c := range writers {
				for seq := int64(1); seq <= total; seq++ {
					if strings.HasPrefix(sent[seq], fmt.Sprintf("%c", 'a'+i)) {
						continue
					}
					if m := c.Message(); m.Conv != conv || m.Seq != seq || m.CID != sent[seq] {
						t.Fatalf("%s: %v, want seq %d, %s", c.Name(), m, seq, sent[seq])
					}
				}
				c.AckAll()
			}
		}
	})
}

// Members come and go and are removed while others write, and the server is
// killed in the middle: from the reply to a join on a session gets every
// message, and none after its removal.
func TestScenario25MembershipTorture(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	s := harness.StartRace(t, "--group-rate=0")
	run := startGroupRun(t, s, seed)
	run.progress(t, 200)
	s.Kill()
	s.Restart()
	run.progress(t, 200)
	run.finish(t, s)
}

// startGroupRun has four members write to three groups, and five users come and
// go.
func startGroupRun(t *testing.T, s *harness.Server, seed uint64) *groupRun {
	const writers, others = 4, 5
	run := &groupRun{url: s.URL(), owner: "owner", ownerKey: s.Token("owner"), stop: make(chan struct{})}
	var staying []string
	for i := range writers + others {
		d := newGroupDevice(run, fmt.Sprintf("user%d", i))
		d.token, d.codec = s.Token(d.user), wstest.Codecs[i%len(wstest.Codecs)]
		d.rng = rand.New(rand.NewPCG(seed, uint64(i)))
		if d.writes = i < writers; d.writes {
			staying = append(staying, d.user)
		}
		run.devices = append(run.devices, d)
	}
	owner := &device{s.Login(t, run.owner, "phone", nil)}
	for _, kind := range []string{"private", "public", "chatroom"} {
		begun := run.now()
		g := &runGroup{id: owner.group(kind, obj{"members": texts(staying...)}), kind: kind}
		run.groups = append(run.groups, g)
		for _, d := range run.devices[:writers] {
			d.memberships[g.id] = []*membership{{begun: begun, joined: run.now()}}
		}
	}
	owner.Logout()
	ctx, cancel := context.WithCancel(t.Context())
	var loops sync.WaitGroup
	for _, d := range run.devices {
		loops.Go(func() { d.live(ctx) })
	}
	t.Cleanup(func() { cancel(); loops.Wait() })
	return run
}

// finish lets nothing new begin, waits until all is where it has to be, and
// checks it.
func (r *groupRun) finish(t *testing.T, s *harness.Server) {
	t.Helper()
	close(r.stop)
	for deadline := time.Now().Add(wstest.Patience); !r.arrived() && time.Now().Before(deadline); {
		r.failIfBroken(t)
		wstest.Pause(t.Context(), 20*time.Millisecond)
	} // what has not arrived by then is lost, and check names it
	reader := s.Device(t, r.owner, "reader", nil)
	reader.Login(obj{"recents": "off", "groupBacklog": 0})
	history := map[string][]wstest.Message{}
	for _, g := range r.groups {
		history[g.id] = reader.AllHistory("g:" + g.id)
	}
	r.check(t.Errorf, history)
	r.failIfBroken(t)
	memberships := 0
	for _, d := range r.devices {
		for _, g := range r.groups {
			memberships += len(d.memberships[g.id])
		}
	}
	t.Logf("%d messages, %d memberships", r.answered.Load(), memberships)
}

// TestGroupVerifierCatches plants one bug at a time into a short run.
func TestGroupVerifierCatches(t *testing.T) {
	for _, c := range []struct {
		bug, want string
		plant     func(g *runGroup, d *groupDevice, history []wstest.Message) []wstest.Message
	}{
		{"none", "", func(_ *runGroup, _ *groupDevice, h []wstest.Message) []wstest.Message { return h }},
		{"lost", "misses seq 2", func(_ *runGroup, d *groupDevice, h []wstest.Message) []wstest.Message {
			delete(d.got["g"], 2)
			return h
		}},
		{"leaked", "has seq 3 of g", func(_ *runGroup, d *groupDevice, h []wstest.Message) []wstest.Message {
			d.got["g"][3] = "id3"
			return h
		}},
		{"another id", "misses seq 2", func(_ *runGroup, d *groupDevice, h []wstest.Message) []wstest.Message {
			d.got["g"][2] = "other"
			return h
		}},
		{"from nowhere", "which nobody sent", func(_ *runGroup, d *groupDevice, h []wstest.Message) []wstest.Message {
			d.got["g"][9] = "id9"
			return h
		}},
		{"sender's order", "is number 3 of alice, want 2", func(g *runGroup, _ *groupDevice, h []wstest.Message) []wstest.Message {
			g.sends[1].n, g.sends[2].n = 3, 2
			return h
		}},
		{"history lost", "has 2 messages, want 3", func(_ *runGroup, _ *groupDevice, h []wstest.Message) []wstest.Message { return h[:2] }},
		{"history's order", "message 2 is", func(_ *runGroup, _ *groupDevice, h []wstest.Message) []wstest.Message {
			h[1], h[2] = h[2], h[1]
			return h
		}},
	} {
		t.Run(c.bug, func(t *testing.T) {
			run := &groupRun{groups: []*runGroup{{id: "g", kind: "private"}}}
			g := run.groups[0]
			d := newGroupDevice(run, "bob")
			run.devices = []*groupDevice{d}
			// Bob is in while the second of three messages is sent.
			d.memberships["g"] = []*membership{{begun: 3, joined: 4, leaving: 7, left: 8}}
			d.got["g"] = map[int64]string{2: "id2"}
			var history []wstest.Message
			for i, at := range []int64{1, 5, 9} {
				id := fmt.Sprintf("id%d", i+1)
				g.sends = append(g.sends, &groupSend{from: "alice", n: i + 1, begun: at, answered: at + 1, seq: int64(i + 1), id: id})
				history = append(history, wstest.Message{ID: id, Seq: int64(i + 1)})
			}
			var reports []string
			run.check(func(format string, args ...any) { reports = append(reports, fmt.Sprintf(format, args...)) },
				map[string][]wstest.Message{"g": c.plant(g, d, history)})
			all := strings.Join(reports, "\n")
			if c.want == "" && all != "" || !strings.Contains(all, c.want) {
				t.Errorf("reports %q, want %q", all, c.want)
			}
		})
	}
}
