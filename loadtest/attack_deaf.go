package loadtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

const (
	// deafDevices is how many sessions each deaf user has: one for each of as
	// many devices as a user may have.
	deafDevices = 16
	// deafPeers is how many conversations each deaf user has, each with one
	// message of deafBody bytes: together they just fit into what the server
	// keeps of a user.
	deafPeers = 85
	deafBody  = 11 << 10
	// deafBuffer is the size of the receive buffer of a session that does not
	// read.
	deafBuffer = 4 << 10
	// deafRequests is how many requests a session writes at a time.
	deafRequests = 16
)

// prepareDeaf sends the deaf users messages and puts them into groups with the
// texts that are longest in JSON: each control character takes six bytes.
func prepareDeaf(ctx context.Context, a *Attack) error {
	var users, members []string
	for u := range a.deafUsers() {
		users = append(users, "u:"+a.deafUser(u))
		members = append(members, a.deafUser(u))
	}
	body := map[string]string{"text": strings.Repeat("\x01", deafBody)}
	err := a.administer(ctx, deafPeers, func(n int) (string, string, any) {
		return "POST", "/v1/messages", map[string]any{"from": fmt.Sprintf("%speer%d", a.run.config.Prefix, n), "to": users, "cid": "1", "body": body}
	})
	if err != nil {
		return err
	}
	return a.administer(ctx, a.config.Size, func(n int) (string, string, any) {
		return "POST", "/v1/groups", map[string]any{
			"group": fmt.Sprintf("%sgroup-of-the-deaf-%d", a.run.config.Prefix, n), "kind": "public", "name": strings.Repeat("\x01", 64), "owner": members[0], "members": members[1:],
		}
	})
}

func (a *Attack) deafUsers() int { return (a.config.Sockets + deafDevices - 1) / deafDevices }

func (a *Attack) deafUser(n int) string { return fmt.Sprintf("%sdeaf%d", a.run.config.Prefix, n) }

// requests returns a first or more that makes deafRequests requests, each with an
// id of its own.
func requests(op string, args func(a *Attack, n int) protocol.Args) func(*Attack) []byte {
	return func(a *Attack) (b []byte) {
		for n := range deafRequests {
			b = appendFrame(b, opText, func(b []byte) []byte {
				return protocol.AppendRequest(b, protocol.JSON, uint64(a.lastMade.Add(1)+1), op, args(a, n))
			})
		}
		return b
	}
}

func deafConv(a *Attack, n int) protocol.Conv {
	return protocol.UserConv(fmt.Sprintf("%speer%d", a.run.config.Prefix, n%deafPeers))
}

// deafTurns are what deaf sessions do by turns.
var deafTurns = []turnKind{
	repeatedTurn("getRecents", requests(protocol.OpGetRecents, func(*Attack, int) protocol.Args { return nil })),
	repeatedTurn("getMessage", requests(protocol.OpGetMessage, func(a *Attack, n int) protocol.Args {
		return &protocol.GetMessageArgs{Conv: deafConv(a, n), Limit: 100}
	})),
	repeatedTurn("getPresence", requests(protocol.OpGetPresence, func(a *Attack, _ int) protocol.Args { return a.deafPeersArgs() })),
	repeatedTurn("subscribePresence", requests(protocol.OpSubscribePresence, func(a *Attack, _ int) protocol.Args { return a.deafPeersArgs() })),
	repeatedTurn("getGroups", requests(protocol.OpGetGroups, func(*Attack, int) protocol.Args { return nil })),
	repeatedTurn("getMembers", requests(protocol.OpGetMembers, func(a *Attack, n int) protocol.Args {
		return &protocol.GetMembersArgs{Group: fmt.Sprintf("%sgroup-of-the-deaf-%d", a.run.config.Prefix, n%a.config.Size), Limit: 100}
	})),
	repeatedTurn("pings", sameBytes(bytes.Repeat(openFrame(true, opPing, 125, 125), 200))),
	{name: "fragments", more: sameBytes(openFrame(false, opContinuation, 1, 1)),
		first: sameBytes(append(openFrame(false, opText, wholeFrame/2, wholeFrame/2), openFrame(false, opContinuation, wholeFrame/4, wholeFrame/4)...))},
	{name: "half a frame", more: sameBytes([]byte{'a'}), first: sameBytes(openFrame(true, opText, wholeFrame, wholeFrame-512))},
	{name: "half a message and half a ping", more: sameBytes([]byte{'a'}),
		first: sameBytes(append(openFrame(false, opText, wholeFrame-512, wholeFrame-512), openFrame(true, opPing, 125, 1)...))},
}

// repeatedTurn returns a turn in which the sockets send the same at once and every time
// after.
func repeatedTurn(name string, bytes func(*Attack) []byte) turnKind {
	return turnKind{name: name, first: bytes, more: bytes}
}

func (a *Attack) deafPeersArgs() *protocol.PresenceArgs {
	users := make([]string, deafPeers)
	for n := range users {
		users[n] = fmt.Sprintf("%speer%d", a.run.config.Prefix, n)
	}
	return &protocol.PresenceArgs{Users: users}
}

// raidDeaf logs in and does what its socket's turn is, until the server ends the
// session.
func raidDeaf(ctx context.Context, a *Attack, n int) error {
	i, err := a.intrude(ctx, n)
	if err != nil {
		return err
	}
	defer i.Close()
	if _, err := i.login(ctx, a.deafUser(n/deafDevices), fmt.Sprintf("device%d", n%deafDevices)); err != nil {
		return err
	}
	if tcp, ok := i.tcp.(*net.TCPConn); ok {
		_ = tcp.SetReadBuffer(deafBuffer) // with little room, the server's writes soon block
	}
	t := &a.turns[n%len(a.turns)]
	return &turnError{t.name, i.press(ctx, t)}
}

// press sends what t says until the server ends the connection. Once the server
// takes nothing more, it writes single bytes past TLS, which is enough to see the
// end.
func (i *intruder) press(ctx context.Context, t *turnKind) error {
	b := t.first(i.attack)
	conn := i.Conn
	tick := time.NewTicker(dripEvery)
	defer tick.Stop()
	for {
		conn.SetWriteDeadline(time.Now().Add(time.Second))
		n, err := conn.Write(b)
		i.attack.bytes.Add(int64(n))
		if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
			conn, b = i.tcp, []byte{0}
		} else if err != nil {
			return err
		} else if conn == i.Conn {
			b = t.more(i.attack)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
