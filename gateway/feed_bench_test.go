package gateway

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/belfry-im/belfry/gateway/auth"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/gateway/ws"
	"github.com/belfry-im/belfry/shard/command"
)

// BenchmarkFanOut hands messages of 128 B, so many at a time, to 1,000 sessions
// over TCP sockets whose other end only reads. cpu-ns/delivery is of both ends.
func BenchmarkFanOut(b *testing.B) {
	for _, codec := range []protocol.Codec{protocol.JSON, protocol.Msgpack} {
		for _, at := range []int{1, 10, 100} {
			b.Run(fmt.Sprintf("%s/%d", codec.Name(), at), func(b *testing.B) { benchFanOut(b, codec, 1000, at) })
		}
	}
}

func benchFanOut(b *testing.B, codec protocol.Codec, members, at int) {
	store := newTestStore(b)
	store.apply(&command.Configure{Version: 1, Limits: command.Limits{GroupRate: -1}})
	names := make([]command.UserID, members)
	for i := range names {
		names[i] = command.UserID(fmt.Sprint("user", i))
	}
	store.apply(&command.CreateGroup{
		Group: "room", Owner: "owner", By: "owner", Kind: command.GroupChatroom, Settings: command.GroupChatroom.Settings(), Members: names,
	})
	g, err := New(Config{
		Backend: store, Auth: auth.Config{Secrets: [][]byte{testSecret}}, Window: 1 << 30, WindowBytes: 1 << 60, IdleTimeout: time.Hour,
	})
	if err != nil {
		b.Fatal(err)
	}
	var reading sync.WaitGroup
	for i := range names {
		s := bareSession(g, codec)
		s.user, s.pumping = names[i], false
		s.number.Store(uint64(i + 1))
		s.conn = newConn(g, discarded(b, &reading))
		sub, _, _ := s.attach("room", false, 0)
		sub.feed.setPosition(sub, store.state.GroupArrival("room"), false)
		if !sub.feed.park(sub) {
			b.Fatal("a fresh subscription is behind")
		}
		defer s.conn.Close()
	}
	f := g.feeds.all["room"]
	body := benchBody(b)
	n := 0
	send := func() {
		store.mu.Lock()
		defer store.mu.Unlock()
		for range at {
			n++
			r := store.apply(&command.SendGroup{Group: "room", User: "owner", CID: fmt.Sprint(n), Body: body, ID: command.MsgID{byte(n), byte(n >> 8), byte(n >> 16)}})
			if r.Code != command.OK {
				b.Fatal(r)
			}
		}
	}
	settled := func() bool {
		at := store.state.GroupArrival("room")
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.readTo == at && len(f.waiting) == members
	}
	b.ReportAllocs()
	var before, after syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	for b.Loop() {
		send()
		for !settled() {
			time.Sleep(50 * time.Microsecond)
			runtime.Gosched()
		}
	}
	syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	deliveries := float64(b.N * at * members)
	cpu := time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
	b.ReportMetric(float64(cpu)/deliveries, "cpu-ns/delivery")
	b.ReportMetric(deliveries/b.Elapsed().Seconds(), "deliveries/s")
	b.ReportMetric(0, "ns/op")
}

// discarded gives a TCP socket whose peer reads all there is.
func discarded(b *testing.B, reading *sync.WaitGroup) net.Conn {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	reading.Go(func() {
		defer client.Close()
		io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{client}, make([]byte, 32<<10))
	})
	return server
}

// BenchmarkLogin is a login of a user with 1,000 groups, up to its flushed
// onSynced. Each group has messages that the user has not read, more than a login pushes.
func BenchmarkLogin(b *testing.B) {
	const groups = 1000
	store := newTestStore(b)
	store.apply(&command.Configure{Version: 1, Limits: command.Limits{GroupRate: -1}})
	body := benchBody(b)
	for i := range groups {
		id := command.GroupID(fmt.Sprint("group", i))
		store.apply(&command.CreateGroup{
			Group: id, Owner: "alice", By: "alice", Kind: command.GroupPrivate, Settings: command.GroupPrivate.Settings(), Members: []command.UserID{"bob"},
		})
		for m := range 5 {
			store.apply(&command.SendGroup{Group: id, User: "alice", CID: fmt.Sprint(m), Body: body})
		}
	}
	for _, codec := range []protocol.Codec{protocol.JSON, protocol.Msgpack} {
		b.Run(codec.Name(), func(b *testing.B) {
			g, err := New(Config{Backend: store, Auth: auth.Config{Secrets: [][]byte{testSecret}}, LoginRate: -1})
			if err != nil {
				b.Fatal(err)
			}
			frame := protocol.AppendRequest(nil, codec, 1, protocol.OpLogin, &protocol.LoginArgs{
				Token: testToken("bob"), Device: "phone", AutoRead: true, Recents: protocol.RecentsOn, GroupBacklog: 20,
			})
			opcode := byte(ws.OpText)
			if codec.Binary() {
				opcode = ws.OpBinary
			}
			p := new(pumpState)
			b.ReportAllocs()
			for b.Loop() {
				s := bareSession(g, codec)
				s.user, s.loggedIn = "", false
				s.number.Store(0)
				s.handleRequest(opcode, frame)
				s.nextRound()
				for more := true; more; {
					pushed := 0
					pushed, more = s.push(p)
					s.flush(pushed)
				}
				if s.sync != nil || len(s.groups) != groups {
					b.Fatal("the login is not through")
				}
				b.StopTimer()
				s.logOut()
				g.unregister(s, s.user)
				b.StartTimer()
			}
		})
	}
}
