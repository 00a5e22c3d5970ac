package link

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// replicaID is that of the replica which a test's group has at a node.
func replicaID(node NodeID) raft.ServerID { return raft.ServerID("r-" + node) }

// locateAll finds every replica at the node that its name says.
func locateAll(id raft.ServerID) (NodeID, bool) { return NodeID(id[2:]), true }

func openTransport(t testing.TB, n *testNode, group string) *Transport {
	t.Helper()
	tr, err := n.Transport(group, replicaID(n.id), locateAll)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close() })
	return tr
}

// A fakeReplica answers what arrives at a transport.
type fakeReplica struct {
	mu    sync.Mutex
	got   []any                                          // commands
	data  []byte                                         // of the last snapshot
	reply func(command any, data io.Reader) (any, error) // nil = the answers below
	beats atomic.Int64
	term  atomic.Uint64
}

var header = raft.RPCHeader{ProtocolVersion: 3, ID: []byte("r-id-a"), Addr: []byte("r-id-a")}

// serveFake answers RPCs and heartbeats of tr until the test ends.
func serveFake(t testing.TB, tr *Transport) *fakeReplica {
	t.Helper()
	f := new(fakeReplica)
	f.term.Store(1)
	done := make(chan struct{})
	var work sync.WaitGroup
	t.Cleanup(func() {
		close(done)
		work.Wait()
	})
	tr.SetHeartbeatHandler(func(rpc raft.RPC) {
		a := rpc.Command.(*raft.AppendEntriesRequest)
		resp := &raft.AppendEntriesResponse{RPCHeader: header, Term: f.term.Load(), LastLog: 7}
		if a.Term >= f.term.Load() {
			resp.Success = true
			f.term.Store(a.Term)
			resp.Term = a.Term
			f.beats.Add(1)
		}
		rpc.Respond(resp, nil)
	})
	work.Go(func() {
		for {
			select {
			case <-done:
				return
			case rpc := <-tr.Consumer():
				f.mu.Lock()
				reply := f.reply
				f.mu.Unlock()
				if reply != nil {
					rpc.Respond(reply(rpc.Command, rpc.Reader))
					continue
				}
				f.mu.Lock()
				f.got = append(f.got, rpc.Command)
				f.mu.Unlock()
				switch c := rpc.Command.(type) {
				case *raft.AppendEntriesRequest:
					rpc.Respond(&raft.AppendEntriesResponse{RPCHeader: header, Term: c.Term, LastLog: 90, Success: true}, nil)
				case *raft.RequestVoteRequest:
					rpc.Respond(&raft.RequestVoteResponse{RPCHeader: header, Term: c.Term, Granted: true}, nil)
				case *raft.RequestPreVoteRequest:
					rpc.Respond(&raft.RequestPreVoteResponse{RPCHeader: header, Term: c.Term, Granted: true}, nil)
				case *raft.TimeoutNowRequest:
					rpc.Respond(&raft.TimeoutNowResponse{RPCHeader: header}, nil)
				case *raft.InstallSnapshotRequest:
					data, err := io.ReadAll(rpc.Reader)
					f.mu.Lock()
					f.data = data
					f.mu.Unlock()
					rpc.Respond(&raft.InstallSnapshotResponse{RPCHeader: header, Term: c.Term, Success: err == nil}, err)
				}
			}
		}
	})
	return f
}

func (f *fakeReplica) last() any {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.got) == 0 {
		return nil
	}
	return f.got[len(f.got)-1]
}

func (f *fakeReplica) answer(reply func(command any, data io.Reader) (any, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reply = reply
}

func heartbeatRequest(term uint64) *raft.AppendEntriesRequest {
	return &raft.AppendEntriesRequest{RPCHeader: header, Term: term}
}

func entriesRequest(term, prev uint64, n int) *raft.AppendEntriesRequest {
	a := &raft.AppendEntriesRequest{RPCHeader: header, Term: term, PrevLogEntry: prev, PrevLogTerm: term, LeaderCommitIndex: prev}
	for i := range n {
		a.Entries = append(a.Entries, &raft.Log{Index: prev + 1 + uint64(i), Term: term, Type: raft.LogCommand, Data: fmt.Appendf(nil, "entry %d", i)})
	}
	return a
}

// TestTransportRPCs makes each RPC in both directions, as hashicorp/raft's own tests of
// NetworkTransport do.
func TestTransportRPCs(t *testing.T) {
	for _, s := range security {
		t.Run(s.name, func(t *testing.T) {
			noLeak(t)
			nodes := testNodes(t, s.tls, "a", "b")
			var trs []*Transport
			var fakes []*fakeReplica
			for _, n := range nodes {
				tr := openTransport(t, n, "g")
				trs = append(trs, tr)
				fakes = append(fakes, serveFake(t, tr))
			}
			for i, tr := range trs {
				id := trs[1-i].local
				address := raft.ServerAddress(id)
				other := fakes[1-i]
				same := func(what string, got, want any) {
					t.Helper()
					if !reflect.DeepEqual(got, want) {
						t.Errorf("%s: %+v, want %+v", what, got, want)
					}
				}
				append1 := entriesRequest(4, 100, 3)
				var appended raft.AppendEntriesResponse
				if err := tr.AppendEntries(id, address, append1, &appended); err != nil {
					t.Fatal(err)
				}
				same("AppendEntries", other.last(), append1)
				same("its answer", appended, raft.AppendEntriesResponse{RPCHeader: header, Term: 4, LastLog: 90, Success: true})

				vote := &raft.RequestVoteRequest{RPCHeader: header, Term: 20, LastLogIndex: 100, LastLogTerm: 19, LeadershipTransfer: true}
				var voted raft.RequestVoteResponse
				if err := tr.RequestVote(id, address, vote, &voted); err != nil {
					t.Fatal(err)
				}
				same("RequestVote", other.last(), vote)
				same("its answer", voted, raft.RequestVoteResponse{RPCHeader: header, Term: 20, Granted: true})

				pre := &raft.RequestPreVoteRequest{RPCHeader: header, Term: 21, LastLogIndex: 100, LastLogTerm: 19}
				var prevoted raft.RequestPreVoteResponse
				if err := tr.RequestPreVote(id, address, pre, &prevoted); err != nil {
					t.Fatal(err)
				}
				same("RequestPreVote", other.last(), pre)
				same("its answer", prevoted, raft.RequestPreVoteResponse{RPCHeader: header, Term: 21, Granted: true})

				now := &raft.TimeoutNowRequest{RPCHeader: header}
				var timedOut raft.TimeoutNowResponse
				if err := tr.TimeoutNow(id, address, now, &timedOut); err != nil {
					t.Fatal(err)
				}
				same("TimeoutNow", other.last(), now)
				same("its answer", timedOut, raft.TimeoutNowResponse{RPCHeader: header})

				data := bytes.Repeat([]byte("snapshot"), 100_000)
				install := &raft.InstallSnapshotRequest{RPCHeader: header, Term: 22, LastLogIndex: 200, LastLogTerm: 9, Configuration: []byte("c"), ConfigurationIndex: 3, Size: int64(len(data))}
				var installed raft.InstallSnapshotResponse
				if err := tr.InstallSnapshot(id, address, install, &installed, bytes.NewReader(data)); err != nil {
					t.Fatal(err)
				}
				same("InstallSnapshot", other.last(), install)
				same("its answer", installed, raft.InstallSnapshotResponse{RPCHeader: header, Term: 22, Success: true})
				other.mu.Lock()
				same("its data", bytes.Equal(other.data, data), true)
				other.mu.Unlock()

				// A heartbeat does not come by the consumer.
				before := other.last()
				var beaten raft.AppendEntriesResponse
				if err := tr.AppendEntries(id, address, heartbeatRequest(23), &beaten); err != nil {
					t.Fatal(err)
				}
				same("the answer to a heartbeat", beaten, raft.AppendEntriesResponse{RPCHeader: header, Term: 23, LastLog: 7, Success: true})
				same("the last command", other.last(), before)
				if n := other.beats.Load(); n != 1 {
					t.Errorf("the handler was called %d times, want 1", n)
				}
				other.term.Store(30)
				if err := tr.AppendEntries(id, address, heartbeatRequest(23), &beaten); err != nil {
					t.Fatal(err)
				}
				same("the answer to a leader of before", beaten, raft.AppendEntriesResponse{RPCHeader: header, Term: 30, LastLog: 7})

				if _, err := tr.AppendEntriesPipeline(id, address); !errors.Is(err, raft.ErrPipelineReplicationNotSupported) {
					t.Errorf("AppendEntriesPipeline: %v", err)
				}
				if tr.LocalAddr() != raft.ServerAddress(tr.local) || string(tr.EncodePeer(tr.local, tr.LocalAddr())) != string(tr.local) {
					t.Errorf("LocalAddr = %s, EncodePeer = %s, want %s", tr.LocalAddr(), tr.EncodePeer(tr.local, tr.LocalAddr()), tr.local)
				}
				fakes[i].term.Store(1)
				other.term.Store(1)
			}
		})
	}
}

func TestTransportRefusesNames(t *testing.T) {
	noLeak(t)
	a := newTestNode(t, "a", nil)
	openTransport(t, a, "g")
	for _, name := range []string{"", string(make([]byte, maxWord+1)), "g"} {
		if tr, err := a.Transport(name, "r", locateAll); err == nil {
			t.Errorf("Transport(%q) worked", name)
			tr.Close()
		}
	}
	if _, err := a.Transport("h", "", locateAll); err == nil {
		t.Error("Transport without a replica worked")
	}
	a.Close()
	if _, err := a.Transport("h", "r", locateAll); !errors.Is(err, errClosed) {
		t.Errorf("Transport of a closed link: %v, want errClosed", err)
	}
}

// TestSlowGroup has 64 groups, of which one has a handler that hangs: the heartbeats of
// the others, which go in the same frames, are answered.
func TestSlowGroup(t *testing.T) {
	noLeak(t)
	const groups = 64
	nodes := testNodes(t, true, "a", "b")
	var leaders, followers []*Transport
	var fakes []*fakeReplica
	for g := range groups {
		name := fmt.Sprint("g", g)
		leaders = append(leaders, openTransport(t, nodes[0], name))
		followers = append(followers, openTransport(t, nodes[1], name))
		fakes = append(fakes, serveFake(t, followers[g]))
	}
	release := make(chan struct{})
	followers[0].SetHeartbeatHandler(func(rpc raft.RPC) {
		<-release
		rpc.Respond(&raft.AppendEntriesResponse{RPCHeader: header, Success: true}, nil)
	})
	id := followers[0].local
	var work sync.WaitGroup
	slow := make(chan error, 1)
	work.Go(func() {
		slow <- leaders[0].AppendEntries(id, raft.ServerAddress(id), heartbeatRequest(1), new(raft.AppendEntriesResponse))
	})
	for g := 1; g < groups; g++ {
		work.Go(func() {
			for range 20 {
				var resp raft.AppendEntriesResponse
				if err := leaders[g].AppendEntries(id, raft.ServerAddress(id), heartbeatRequest(uint64(g)), &resp); err != nil || !resp.Success || resp.Term != uint64(g) {
					t.Errorf("group %d: %+v, %v", g, resp, err)
					return
				}
			}
		})
	}
	for g := 1; g < groups; g++ {
		eventually(t, "heartbeats are answered", func() bool { return fakes[g].beats.Load() == 20 })
	}
	select {
	case err := <-slow:
		t.Errorf("the slow group answered: %v", err)
	default:
	}
	close(release)
	work.Wait()
	if err := <-slow; err != nil {
		t.Errorf("the slow group: %v", err)
	}
}

// call runs f in a goroutine, and returns where its error comes.
func call(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return done
}

// still fails the test if a call has ended.
func still(t testing.TB, what string, done <-chan error) {
	t.Helper()
	select {
	case err := <-done:
		t.Fatalf("%s ended: %v", what, err)
	default:
	}
}

func result(t testing.TB, what string, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		t.Fatalf("%s does not end", what)
		return nil
	}
}

// TestHeartbeatOfClosedTransport closes a leader's transport while a heartbeat waits for
// its answer: it gives up.
func TestHeartbeatOfClosedTransport(t *testing.T) {
	noLeak(t)
	nodes := testNodes(t, false, "a", "b")
	a, b := openTransport(t, nodes[0], "g"), openTransport(t, nodes[1], "g")
	serveFake(t, b)
	asked, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	b.SetHeartbeatHandler(func(rpc raft.RPC) {
		close(asked)
		<-release
		rpc.Respond(&raft.AppendEntriesResponse{Success: true}, nil)
	})
	beat := call(func() error {
		return a.AppendEntries(b.local, "", heartbeatRequest(4), new(raft.AppendEntriesResponse))
	})
	select {
	case <-asked:
	case <-time.After(patience):
		t.Fatal("no heartbeat arrives")
	}
	a.Close()
	if err := result(t, "a heartbeat", beat); !errors.Is(err, raft.ErrTransportShutdown) {
		t.Errorf("a heartbeat of a closed transport: %v, want ErrTransportShutdown", err)
	}
}

// TestClosedTransportIsSilent closes a follower's transport: its heartbeats are not
// answered any more, though its handler would.
func TestClosedTransportIsSilent(t *testing.T) {
	noLeak(t)
	nodes := testNodes(t, true, "a", "b")
	a, b := openTransport(t, nodes[0], "g"), openTransport(t, nodes[1], "g")
	f := serveFake(t, b)
	beat := func() error {
		return a.AppendEntries(b.local, "", heartbeatRequest(2), new(raft.AppendEntriesResponse))
	}
	entry := func() error {
		return a.AppendEntries(b.local, "", entriesRequest(2, 1, 1), new(raft.AppendEntriesResponse))
	}
	for _, send := range []func() error{beat, entry} {
		if err := send(); err != nil {
			t.Fatal(err)
		}
	}
	b.Close()
	before := f.beats.Load()
	beats, entries := call(beat), call(entry)
	eventually(t, "b says that it has no replica", func() bool { return nodes[1].log.has("there is no replica of group g here") })
	still(t, "a heartbeat", beats)
	still(t, "AppendEntries", entries)
	if err := a.RequestVote(b.local, "", &raft.RequestVoteRequest{RPCHeader: header}, new(raft.RequestVoteResponse)); err == nil {
		t.Error("a closed transport voted")
	}
	if f.beats.Load() != before {
		t.Error("a closed transport took a heartbeat")
	}
	again := openTransport(t, nodes[1], "g")
	serveFake(t, again)
	if err := result(t, "a heartbeat", beats); err != nil {
		t.Error(err)
	}
	if err := result(t, "AppendEntries", entries); err != nil {
		t.Error(err)
	}
}

// TestAnotherReplica has a group's replica replaced by one of another ID.
func TestAnotherReplica(t *testing.T) {
	noLeak(t)
	nodes := testNodes(t, false, "a", "b")
	a := openTransport(t, nodes[0], "g")
	b, err := nodes[1].Transport("g", "another", locateAll)
	if err != nil {
		t.Fatal(err)
	}
	f := serveFake(t, b)
	if err := a.RequestVote("r-id-b", "", &raft.RequestVoteRequest{RPCHeader: header}, new(raft.RequestVoteResponse)); err == nil {
		t.Error("another replica voted")
	}
	s, _ := nodes[0].Link.peer("id-b").current()
	if r, err := s.ask(ask{group: "g", replica: "r-id-b", term: 3}, patience, nil); err == nil {
		t.Errorf("another replica answered a heartbeat: %+v", r)
	}
	if f.last() != nil || f.beats.Load() != 0 {
		t.Error("another replica got an RPC")
	}
}

// TestFollowerComesBack has a call wait for a node that is away.
func TestFollowerComesBack(t *testing.T) {
	for _, s := range security {
		t.Run(s.name, func(t *testing.T) {
			noLeak(t)
			nodes := testNodes(t, s.tls, "a", "b")
			a, b := openTransport(t, nodes[0], "g"), openTransport(t, nodes[1], "g")
			serveFake(t, b)
			serveFake(t, a)
			send := func() error {
				return a.AppendEntries(b.local, "", entriesRequest(2, 1, 1), new(raft.AppendEntriesResponse))
			}
			vote := func() error {
				return a.RequestVote(b.local, "", &raft.RequestVoteRequest{RPCHeader: header}, new(raft.RequestVoteResponse))
			}
			// Two at once, so that two connections are pooled.
			for _, done := range []<-chan error{call(send), call(send), call(vote)} {
				if err := result(t, "a call", done); err != nil {
					t.Fatal(err)
				}
			}
			address := nodes[1].Addr().String()
			nodes[1].Close()
			eventually(t, "b is gone", func() bool { return nodes[0].State("id-b") == Gone })
			if err := vote(); !errors.Is(err, errLost) {
				t.Errorf("a vote of a node that is away: %v, want errLost", err)
			}
			waits := call(send)
			beats := call(func() error {
				return a.AppendEntries(b.local, "", heartbeatRequest(2), new(raft.AppendEntriesResponse))
			})
			back := newTestNode(t, "b", func(c *Config) { c.Listen, c.TLS = address, nodes[1].config.TLS })
			tr := openTransport(t, back, "g")
			serveFake(t, tr)
			still(t, "AppendEntries", waits)
			still(t, "a heartbeat", beats)
			back.start(t)
			back.SetPeers([]Peer{nodes[0].peer()})
			if err := result(t, "AppendEntries", waits); err != nil {
				t.Error(err)
			}
			if err := result(t, "a heartbeat", beats); err != nil {
				t.Error(err)
			}
			if err := vote(); err != nil {
				t.Errorf("the first vote after b came back: %v", err)
			}
		})
	}
}

// TestCallsGiveUp ends the wait for a node that stays away.
func TestCallsGiveUp(t *testing.T) {
	noLeak(t)
	n := newTestNode(t, "a", nil)
	n.start(t)
	n.SetPeers([]Peer{{ID: "id-b", Name: "b", Address: "127.0.0.1:1"}})
	var removed, down atomic.Bool
	tr, err := n.Transport("g", "r-id-a", func(id raft.ServerID) (NodeID, bool) {
		node, _ := locateAll(id)
		return node, !removed.Load()
	})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	var term atomic.Uint64
	term.Store(5)
	tr.SetHeartbeatHandler(func(rpc raft.RPC) {
		if !down.Load() {
			rpc.Respond(&raft.AppendEntriesResponse{Term: term.Load()}, nil)
		}
	})
	send := func(term uint64) <-chan error {
		return call(func() error {
			return tr.AppendEntries("r-id-b", "", entriesRequest(term, 1, 1), new(raft.AppendEntriesResponse))
		})
	}
	first := send(5)
	eventually(t, "the call waits", func() bool { return tr.follower("r-id-b").ask(5) })
	term.Store(6)
	if err := result(t, "a call of a term that is over", first); !errors.Is(err, errOutdated) {
		t.Errorf("%v, want errOutdated", err)
	}
	second := send(6)
	removed.Store(true)
	if err := result(t, "a call to a replica that was removed", second); !errors.Is(err, errUnlocated) {
		t.Errorf("%v, want errUnlocated", err)
	}
	removed.Store(false)
	third := send(6)
	down.Store(true)
	if err := result(t, "a call of a replica that has shut down", third); !errors.Is(err, errShutDown) {
		t.Errorf("%v, want errShutDown", err)
	}
	down.Store(false)
	fourth := send(6)
	tr.Close()
	if err := result(t, "a call of a closed transport", fourth); !errors.Is(err, raft.ErrTransportShutdown) {
		t.Errorf("%v, want ErrTransportShutdown", err)
	}
}

// TestRefusedEntries has a follower that cannot store: its answer is handed on as it is.
func TestRefusedEntries(t *testing.T) {
	noLeak(t)
	nodes := testNodes(t, false, "a", "b")
	a, b := openTransport(t, nodes[0], "g"), openTransport(t, nodes[1], "g")
	f := serveFake(t, b)
	for _, want := range []raft.AppendEntriesResponse{{Term: 2, LastLog: 1}, {Term: 2, LastLog: 1, NoRetryBackoff: true}, {Term: 3}} {
		f.answer(func(any, io.Reader) (any, error) { return &want, nil })
		var got raft.AppendEntriesResponse
		if err := a.AppendEntries(b.local, "", entriesRequest(2, 1, 1), &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("AppendEntries: %+v, %v, want %+v", got, err, want)
		}
	}
}

// TestFrozenFollower freezes the network in the middle of an RPC.
func TestFrozenFollower(t *testing.T) {
	noLeak(t)
	quick := func(c *Config) { c.Silence = 400 * time.Millisecond }
	na, nb := newTestNode(t, "a", quick), newTestNode(t, "b", quick)
	na.start(t)
	nb.start(t)
	toA, toB := newTestProxy(t, na.Addr().String()), newTestProxy(t, nb.Addr().String())
	na.SetPeers([]Peer{{ID: nb.id, Name: "b", Address: toB.addr()}})
	nb.SetPeers([]Peer{{ID: na.id, Name: "a", Address: toA.addr()}})
	eventually(t, "connected", func() bool { return na.State(nb.id) == Connected && nb.State(na.id) == Connected })
	a, b := openTransport(t, na, "g"), openTransport(t, nb, "g")
	serveFake(t, b)
	if err := a.AppendEntries(b.local, "", entriesRequest(2, 1, 1), new(raft.AppendEntriesResponse)); err != nil {
		t.Fatal(err)
	}
	toA.freeze(true)
	toB.freeze(true)
	vote := call(func() error {
		return a.RequestVote(b.local, "", &raft.RequestVoteRequest{RPCHeader: header}, new(raft.RequestVoteResponse))
	})
	entries := call(func() error {
		return a.AppendEntries(b.local, "", entriesRequest(2, 1, 1), new(raft.AppendEntriesResponse))
	})
	if err := result(t, "a vote", vote); err == nil {
		t.Error("a frozen node voted")
	}
	eventually(t, "b is lost", func() bool { return na.State(nb.id) == Lost })
	still(t, "AppendEntries", entries)
	toA.freeze(false)
	toB.freeze(false)
	if err := result(t, "AppendEntries", entries); err != nil {
		t.Error(err)
	}
}
