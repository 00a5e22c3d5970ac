package link

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func installRequest(n int) *raft.InstallSnapshotRequest {
	return &raft.InstallSnapshotRequest{RPCHeader: header, Term: 2, LastLogIndex: 10, Size: int64(n)}
}

// TestBulkWaitsForRestore has a follower that takes twice BulkStall to restore,
// longer than an RPC may take, but lives.
func TestBulkWaitsForRestore(t *testing.T) {
	for _, s := range security {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			noLeak(t)
			ca, dir := newTestCA(t, "ca"), t.TempDir()
			var nodes []*testNode
			for _, name := range []string{"a", "b"} {
				n := newTestNode(t, name, func(c *Config) {
					c.BulkStall, c.RPC = 6*bulkAlive, time.Second
					if s.tls {
						c.TLS = ca.issue(t, dir, name, nil)
					}
				})
				n.start(t)
				nodes = append(nodes, n)
			}
			connect(t, nodes...)
			a, b := openTransport(t, nodes[0], "g"), openTransport(t, nodes[1], "g")
			f := serveFake(t, b)
			f.answer(func(_ any, data io.Reader) (any, error) {
				n, err := io.Copy(io.Discard, data)
				<-time.After(12 * bulkAlive)
				return &raft.InstallSnapshotResponse{Term: 2, Success: n == 3<<20}, err
			})
			var resp raft.InstallSnapshotResponse
			if err := a.InstallSnapshot(b.local, "", installRequest(3<<20), &resp, bytes.NewReader(make([]byte, 3<<20))); err != nil || !resp.Success {
				t.Errorf("InstallSnapshot: %+v, %v", resp, err)
			}
		})
	}
}

// TestBulkStalls has followers that make no progress: one that does not read, and one
// that is frozen after it has.
func TestBulkStalls(t *testing.T) {
	t.Run("reads nothing", func(t *testing.T) {
		t.Parallel()
		noLeak(t)
		nodes := bulkNodes(t)
		connect(t, nodes...)
		a, b := openTransport(t, nodes[0], "g"), openTransport(t, nodes[1], "g")
		f := serveFake(t, b)
		release := make(chan struct{})
		t.Cleanup(func() { close(release) })
		f.answer(func(any, io.Reader) (any, error) {
			<-release
			return nil, errors.New("too late")
		})
		const size = 64 << 20 // more than all buffers between them
		install := call(func() error {
			return a.InstallSnapshot(b.local, "", installRequest(size), new(raft.InstallSnapshotResponse), io.LimitReader(zeros{}, size))
		})
		if err := result(t, "InstallSnapshot", install); !isTimeout(err) {
			t.Errorf("InstallSnapshot: %v, want a time-out", err)
		}
	})
	t.Run("freezes", func(t *testing.T) {
		t.Parallel()
		noLeak(t)
		nodes := bulkNodes(t)
		toA, toB := newTestProxy(t, nodes[0].Addr().String()), newTestProxy(t, nodes[1].Addr().String())
		nodes[0].SetPeers([]Peer{{ID: "id-b", Name: "b", Address: toB.addr()}})
		nodes[1].SetPeers([]Peer{{ID: "id-a", Name: "a", Address: toA.addr()}})
		eventually(t, "connected", func() bool { return nodes[0].State("id-b") == Connected && nodes[1].State("id-a") == Connected })
		a, b := openTransport(t, nodes[0], "g"), openTransport(t, nodes[1], "g")
		f := serveFake(t, b)
		f.answer(func(_ any, data io.Reader) (any, error) {
			n, err := io.Copy(io.Discard, data)
			toA.freeze(true)
			toB.freeze(true)
			return &raft.InstallSnapshotResponse{Term: 2, Success: n > 0}, err
		})
		install := call(func() error {
			return a.InstallSnapshot(b.local, "", installRequest(1<<20), new(raft.InstallSnapshotResponse), io.LimitReader(zeros{}, 1<<20))
		})
		// The decoder of hashicorp/raft does not wrap what it read.
		if err := result(t, "InstallSnapshot", install); err == nil || !strings.Contains(err.Error(), "i/o timeout") {
			t.Errorf("InstallSnapshot: %v, want a time-out", err)
		}
	})
	t.Run("sender stalls", func(t *testing.T) {
		t.Parallel()
		noLeak(t)
		nodes := bulkNodes(t)
		connect(t, nodes...)
		a, b := openTransport(t, nodes[0], "g"), openTransport(t, nodes[1], "g")
		f := serveFake(t, b)
		ended := make(chan error, 1)
		f.answer(func(_ any, data io.Reader) (any, error) {
			_, err := io.Copy(io.Discard, data)
			ended <- err
			return nil, err
		})
		stuck, release := io.Pipe()
		install := call(func() error {
			return a.InstallSnapshot(b.local, "", installRequest(1<<20), new(raft.InstallSnapshotResponse), stuck)
		})
		if err := result(t, "reading the snapshot", ended); !isTimeout(err) {
			t.Errorf("the follower's reader: %v, want a time-out", err)
		}
		release.Close()
		if err := result(t, "InstallSnapshot", install); err == nil {
			t.Error("InstallSnapshot of a snapshot that was cut off worked")
		}
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func bulkNodes(t testing.TB) []*testNode {
	var nodes []*testNode
	for _, name := range []string{"a", "b"} {
		n := newTestNode(t, name, func(c *Config) { c.BulkStall, c.BulkRate = 2*bulkAlive, -1 })
		n.start(t)
		nodes = append(nodes, n)
	}
	return nodes
}

// TestBulkRate sends two snapshots at once, which share the node's rate.
func TestBulkRate(t *testing.T) {
	noLeak(t)
	nodes := make([]*testNode, 2)
	for i, name := range []string{"a", "b"} {
		nodes[i] = newTestNode(t, name, func(c *Config) { c.BulkRate = 1 << 20 })
		nodes[i].start(t)
	}
	connect(t, nodes...)
	start := time.Now()
	var calls []<-chan error
	for _, group := range []string{"g", "h"} {
		a, b := openTransport(t, nodes[0], group), openTransport(t, nodes[1], group)
		serveFake(t, b)
		calls = append(calls, call(func() error {
			return a.InstallSnapshot(b.local, "", installRequest(512<<10), new(raft.InstallSnapshotResponse), io.LimitReader(zeros{}, 512<<10))
		}))
	}
	for _, c := range calls {
		if err := result(t, "InstallSnapshot", c); err != nil {
			t.Error(err)
		}
	}
	// 1 MiB at 1 MiB/s, less what the bucket held.
	if took := time.Since(start); took < 900*time.Millisecond {
		t.Errorf("1 MiB in %v, want about a second", took)
	}
}

// TestBulkOutlivesControl has a snapshot go on while the control connection is lost.
func TestBulkOutlivesControl(t *testing.T) {
	noLeak(t)
	nodes := testNodes(t, false, "a", "b")
	a, b := openTransport(t, nodes[0], "g"), openTransport(t, nodes[1], "g")
	f := serveFake(t, b)
	f.answer(func(_ any, data io.Reader) (any, error) {
		n, err := io.Copy(io.Discard, data)
		return &raft.InstallSnapshotResponse{Term: 2, Success: n == 1<<20}, err
	})
	source, feed := io.Pipe()
	install := call(func() error {
		var resp raft.InstallSnapshotResponse
		err := a.InstallSnapshot(b.local, "", installRequest(1<<20), &resp, source)
		if err == nil && !resp.Success {
			err = errors.New("not installed")
		}
		return err
	})
	if _, err := feed.Write(make([]byte, 512<<10)); err != nil {
		t.Fatal(err)
	}
	s, _ := nodes[0].Link.peer("id-b").current()
	s.conn.Close()
	eventually(t, "another control connection", func() bool {
		again, _ := nodes[0].Link.peer("id-b").current()
		return again != nil && again != s
	})
	if _, err := feed.Write(make([]byte, 512<<10)); err != nil {
		t.Fatal(err)
	}
	feed.Close()
	if err := result(t, "InstallSnapshot", install); err != nil {
		t.Error(err)
	}
	if got := nodes[0].statesOf(nodes[1]); len(got) != 1 {
		t.Errorf("a was told %v of b, want connected once: it was back at once", got)
	}
}
