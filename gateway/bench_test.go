package gateway

import (
	"context"
	"fmt"
	"net/http/httptest"
	"runtime"
	"testing"

	"github.com/belfry-im/belfry/gateway/auth"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/gateway/ws"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// A nullStore answers at once and costs next to nothing, so that what is
// measured is the gateway.
type nullStore struct {
	Backend // nil: what is not needed panics
	news    query.Updates
	at      uint64 // arrival number of the newest message
}

func (*nullStore) Now() int64                                { return 1795400000123 }
func (*nullStore) Unwatch(command.UserID, command.SessionID) {}
func (*nullStore) Acked(command.UserID, command.SessionID)   {}
func (n *nullStore) ReaderAt(store.Place) store.Reader       { return n }

func (*nullStore) Submit(cmd command.Command, done func(command.Result, error)) {
	r := command.Result{Seq: 7, Time: 1795400000123}
	switch send := cmd.(type) {
	case *command.Send:
		r.ID = send.ID
	case *command.SendGroup:
		r.ID = send.ID
	}
	done(r, nil)
}

func (*nullStore) Login(context.Context, *command.Login, query.RecentsMode, store.Watcher) (*query.Sync, error) {
	return &query.Sync{Session: 1}, nil
}

func (*nullStore) NextSync(_ command.UserID, _ *query.Sync, b *query.Updates, _, _ int) error {
	b.Reset()
	return nil
}

func (n *nullStore) Since(_ command.UserID, _ command.SessionID, after uint64, b *query.Updates, _, _ int) error {
	b.Reset()
	if b.Through = n.at; after < n.at {
		b.Items = append(b.Items, n.news.Items...)
		b.Messages = append(b.Messages, n.news.Messages...)
		for i := range b.Messages {
			b.Messages[i].Arrival = n.at
		}
	}
	return nil
}

// BenchmarkSend is a send of 128 B from its frame to its flushed reply.
func BenchmarkSend(b *testing.B) { benchSend(b, protocol.UserConv("alice")) }

// BenchmarkSendGroup is the same to a group.
func BenchmarkSendGroup(b *testing.B) { benchSend(b, protocol.GroupConv("team")) }

func benchSend(b *testing.B, conv protocol.Conv) {
	for _, codec := range []protocol.Codec{protocol.JSON, protocol.Msgpack} {
		b.Run(codec.Name(), func(b *testing.B) {
			s := bareSession(newBareGateway(b, &nullStore{}), codec)
			frame := protocol.AppendRequest(nil, codec, 7, protocol.OpSend, &protocol.SendArgs{
				Conv: conv, CID: "0123456789abcdef", Body: benchBody(b),
			})
			opcode := byte(ws.OpText)
			if codec.Binary() {
				opcode = ws.OpBinary
			}
			b.ReportAllocs()
			for b.Loop() {
				s.handleRequest(opcode, frame)
				s.flush(0)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}

// BenchmarkPush is one message of 128 B, or a frame of 100, from the store's
// wake-up to the flushed frame, and its ack.
func BenchmarkPush(b *testing.B) {
	for _, codec := range []protocol.Codec{protocol.JSON, protocol.Msgpack} {
		for _, n := range []int{1, 100} {
			b.Run(fmt.Sprintf("%s/%d", codec.Name(), n), func(b *testing.B) {
				store := &nullStore{}
				body := benchBody(b)
				for i := range n {
					store.news.Items = append(store.news.Items, query.Item{Message: i, Change: -1})
					store.news.Messages = append(store.news.Messages, query.Message{
						Peer: "alice", From: "alice", Seq: uint64(i + 1), Time: 1795400000123, CID: []byte("0123456789abcdef"), Body: body,
					})
				}
				s := bareSession(newBareGateway(b, store), codec)
				p := new(pumpState)
				b.ReportAllocs()
				for b.Loop() {
					store.at++
					s.Wake()
					s.nextRound()
					s.checkDeadlines()
					pushed, _ := s.push(p)
					s.flush(pushed)
					s.ack(s.window.last)
				}
				b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "messages/s")
			})
		}
	}
}

// BenchmarkIdleSession gives the memory of a session that is logged in and says
// nothing: heap and stacks, without the kernel's, and with the client's socket.
func BenchmarkIdleSession(b *testing.B) {
	g, err := New(Config{Backend: &nullStore{}, Auth: auth.Config{Secrets: [][]byte{testSecret}}, LoginRate: -1})
	if err != nil {
		b.Fatal(err)
	}
	server := httptest.NewServer(g.Handler())
	defer server.Close()
	defer g.Shutdown(context.Background())
	used := func() float64 {
		runtime.GC()
		runtime.GC() // the first one only starts to shrink stacks
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc + m.StackInuse)
	}
	login := masked(ws.OpText, `{"id":1,"op":"login","args":{"token":"`+testToken("alice")+`","device":"phone"}}`)
	before := used()
	for b.Loop() {
		c := rawClient(b, server.Listener.Addr().String())
		defer c.Close()
		c.Write(login)
		readUntil(b, c, "onSynced")
	}
	b.ReportMetric((used()-before)/float64(b.N), "bytes/session")
}

func benchBody(b *testing.B) []byte {
	b.Helper()
	body, err := protocol.EncodeBody(map[string]any{"text": fmt.Sprintf("%0118d", 7)})
	if err != nil {
		b.Fatal(err)
	}
	return body
}
