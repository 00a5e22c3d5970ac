//go:build unix

package gateway

import (
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/belfry-im/belfry/gateway/auth"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/gateway/ws"
	"github.com/belfry-im/belfry/raftstore"
	"github.com/belfry-im/belfry/shard/command"
)

// A dearStore is a store with all that makes requests of bob dear: names and texts
// that JSON makes long, a log of gaps, as many conversations, groups and blocked
// users as a user may have, and others who are in as many groups.
type dearStore struct {
	b     *testing.B
	store *raftstore.Store
	wait  sync.WaitGroup
	ids   int
}

func newDearStore(b *testing.B) *dearStore {
	store, err := raftstore.Open(raftstore.Config{
		Dir: b.TempDir(), Shards: 1, DiskReserve: -1,
		Limits: command.Limits{NewConversations: -1, UserBytes: 64 << 20, GroupBytes: 64 << 20, OfflineMaxMessages: -1, OfflineMaxBytes: -1, GroupRate: -1},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { store.Close() })
	for store.Ready() != nil {
	}
	c := &dearStore{b: b, store: store}
	c.fill()
	return c
}

// do submits a command that must not fail.
func (c *dearStore) do(cmd command.Command) {
	for {
		outcome := make(chan error, 1)
		c.wait.Add(1)
		c.store.Submit(cmd, func(r command.Result, err error) {
			if err == nil && r.Code != command.OK {
				c.b.Errorf("%T: %v", cmd, r.Err())
			}
			outcome <- err
			c.wait.Done()
		})
		c.ids++
		if c.ids%256 != 0 {
			return
		}
		if err := <-outcome; err == nil {
			return
		}
	}
}

func (c *dearStore) say(from, to command.UserID, body []byte) {
	c.do(&command.Send{User: from, To: to, ID: command.MsgID{byte(c.ids >> 16), byte(c.ids >> 8), byte(c.ids)}, CID: fmt.Sprint(c.ids), Body: body})
}

func controls(n int) string { return strings.Repeat("\x01", n) }

func text16(n int) []byte { return append([]byte{0xda, byte(n >> 8), byte(n)}, controls(n)...) }

const dearPeers = protocol.MaxUsers

func dearPeer(i int) command.UserID {
	return command.UserID(fmt.Sprintf("peer%d", i) + strings.Repeat(`"`, 50))
}

func (c *dearStore) fill() {
	for i := range 9800 {
		c.say("bob", command.UserID(fmt.Sprintf("contact%d", i)), []byte{1})
	}
	for i := range 100 {
		c.say("bob", command.UserID(fmt.Sprintf("recent%d", i)), text16(11_000))
	}
	for i := range 1000 {
		c.do(&command.Block{User: "bob", Target: command.UserID(fmt.Sprintf("contact%d", i))})
	}
	for range 200 {
		c.say("bob", "plain", append([]byte{0xda, 2500 >> 8, 2500 & 0xff}, strings.Repeat("x", 2500)...))
		c.say("bob", "controls", text16(11_000))
	}
	for i := range 16_000 {
		c.say("bob", "gaps", []byte{1})
		if i%2 == 0 {
			c.do(&command.Recall{User: "bob", Peer: "gaps", Seq: uint64(i + 1)})
		} else {
			c.do(&command.DeleteMessages{User: "bob", Peer: "gaps", Seqs: []uint64{uint64(i + 1)}})
		}
	}
	peers := make([]command.UserID, dearPeers)
	for i := range peers {
		peers[i] = dearPeer(i)
	}
	for i := range 1000 {
		create := command.CreateGroup{
			Group: command.GroupID(fmt.Sprintf("a%03d", i) + strings.Repeat(`"`, 40)), Owner: "bob", By: "bob", Kind: command.GroupPublic,
			Settings: command.GroupPublic.Settings(), Name: controls(256), Properties: append([]byte{0x81, 0xa1, 'x'}, text16(8000)...),
		}
		c.do(&create)
		create.Group, create.Owner, create.By, create.Properties = "b"+create.Group[1:], "carol", "carol", nil
		c.do(&create)
		c.do(&command.AddMembers{Group: create.Group, Users: peers})
	}
	first := command.GroupID("a000" + strings.Repeat(`"`, 40))
	for i := range 100 {
		c.do(&command.JoinGroup{Group: first, User: command.UserID(fmt.Sprint("asks", i)), Message: controls(256)})
	}
	room := command.CreateGroup{Group: "room", Owner: "bob", By: "bob", Kind: command.GroupChatroom, Settings: command.GroupChatroom.Settings()}
	c.do(&room)
	for i := range 99 {
		users := make([]command.UserID, 100)
		for j := range users {
			users[j] = command.UserID(fmt.Sprintf("m%d.%d", i, j))
		}
		c.do(&command.AddMembers{Group: "room", Users: users})
	}
	c.wait.Wait()
}

// BenchmarkCost is what the dearest request of each op takes of the CPU, its reply
// included; with what it takes in a log entry, where it has one.
func BenchmarkCost(b *testing.B) {
	c := newDearStore(b)
	users := make([]string, protocol.MaxUsers)
	for i := range users {
		users[i] = string(dearPeer(i))
	}
	group := "a000" + strings.Repeat(`"`, 40)
	page := func(peer string) *protocol.GetMessageArgs {
		return &protocol.GetMessageArgs{Conv: protocol.UserConv(peer), Limit: 100}
	}
	for _, op := range []struct {
		name, op string
		args     protocol.Args
	}{
		{"getMessage/plain", protocol.OpGetMessage, page("plain")},
		{"getMessage/controls", protocol.OpGetMessage, page("controls")},
		{"getMessage/gaps", protocol.OpGetMessage, page("gaps")},
		{"getRecents", protocol.OpGetRecents, nil},
		{"getConversations", protocol.OpGetConversations, &protocol.GetConversationsArgs{Limit: 100}},
		{"getGroups", protocol.OpGetGroups, &protocol.GetGroupsArgs{Limit: 100}},
		{"getGroup", protocol.OpGetGroup, &protocol.GroupArgs{Group: group}},
		{"getMembers", protocol.OpGetMembers, &protocol.GetMembersArgs{Group: "room", Limit: 100}},
		{"getBlocked", protocol.OpGetBlocked, nil},
		{"getPresence", protocol.OpGetPresence, &protocol.PresenceArgs{Users: users}},
		{"subscribePresence", protocol.OpSubscribePresence, &protocol.PresenceArgs{Users: users}},
		{"addMembers", protocol.OpAddMembers, &protocol.MembersArgs{Group: group, Users: users}},
		{"send/retry", protocol.OpSend, &protocol.SendArgs{Conv: protocol.UserConv("gaps"), CID: "new", Body: []byte{1}, Retry: true}},
		{"typing", protocol.OpTyping, &protocol.TypingArgs{Conv: protocol.GroupConv("room")}},
	} {
		for _, codec := range []protocol.Codec{protocol.JSON, protocol.Msgpack} {
			b.Run(op.name+"/"+codec.Name(), func(b *testing.B) { c.bench(b, codec, op.op, op.args) })
		}
	}
}

func (c *dearStore) bench(b *testing.B, codec protocol.Codec, op string, args protocol.Args) {
	g, err := New(Config{
		Backend: c.store, Auth: auth.Config{Secrets: [][]byte{testSecret}},
		FrameRate: -1, LoginRate: -1, SendRate: -1, GroupChangeRate: -1, MaxGroups: -1, MaxOwnedGroups: -1,
	})
	if err != nil {
		b.Fatal(err)
	}
	s := bareSession(g, codec)
	s.maxRecents = 100
	defer c.store.UnsubscribePresence(s)
	opcode := byte(ws.OpText)
	if codec.Binary() {
		opcode = ws.OpBinary
	}
	var frame []byte
	before, largest := cpuTime(b), 0
	for i := uint64(1); b.Loop(); i++ {
		frame = protocol.AppendRequest(frame[:0], codec, i, op, args)
		s.handleRequest(opcode, frame)
		s.submits.Wait()
		largest = max(largest, s.conn.Buffered())
		s.flush(0)
	}
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-µs/op")
	b.ReportMetric(float64(largest)/1024, "KiB")
}

// cpuTime is what the process has had of the CPU so far, in µs.
func cpuTime(b *testing.B) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return (u.Utime.Sec+u.Stime.Sec)*1e6 + int64(u.Utime.Usec+u.Stime.Usec)
}
