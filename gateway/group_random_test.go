package gateway

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/shard/command"
)

// TestGroupsAgainstModel has members of both codecs, fast and slow, come and go,
// while messages, recalls and events of several groups flow and the store is
// away now and then. What was pushed to a device must be what happened in each group
// while its user was a member, in order, once. Devices may be behind when their
// user leaves; before the user joins again they have caught up.
func TestGroupsAgainstModel(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { randomGroups(t, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

// A groupModel is what is known of a group.
type groupModel struct {
	id      command.GroupID
	members map[command.UserID]bool
	next    int
}

// A follower is a device that is online all the time.
type follower struct {
	user   command.UserID
	client *client
	number command.SessionID
	slow   bool
	due    int64                        // newest frame that is not acked
	got    map[command.GroupID][]string // lines
	want   map[command.GroupID][]string
}

func randomGroups(t *testing.T, r *rand.Rand) {
	e := newEdge(t, func(c *Config) { c.Window = 1 + r.IntN(4) })
	e.unlimited()
	users := []command.UserID{"ann", "bob", "cyd", "dan"}
	var groups []*groupModel
	for _, id := range []command.GroupID{"a", "b", "c"} {
		g := &groupModel{id: id, members: map[command.UserID]bool{"owner": true}}
		e.group(id, command.GroupChatroom, "owner")
		groups = append(groups, g)
	}
	var all []*follower
	for i, user := range append(users, users...) {
		c := e.dial(protocol.Codec(i % 2))
		ok := c.login(string(user), fmt.Sprint("device", i), nil)
		c.push("onSynced")
		all = append(all, &follower{
			user: user, client: c, number: command.SessionID(number(t, ok, "session")), slow: r.IntN(2) == 0,
			got: make(map[command.GroupID][]string), want: make(map[command.GroupID][]string),
		})
	}
	// happened notes a line for all who are members, but for one device.
	happened := func(g *groupModel, except *follower, line string) {
		for _, f := range all {
			if g.members[f.user] && f != except {
				f.want[g.id] = append(f.want[g.id], line)
			}
		}
	}
	event := func(g *groupModel, kind string, user command.UserID) { happened(g, nil, fmt.Sprint(kind, " ", user)) }
	// settle lets the devices of a user, or "" for all, take what there is.
	settle := func(user command.UserID) {
		lacking := func(f *follower) bool { return (user == "" || f.user == user) && f.lacks() }
		for range 2000 {
			synctest.Wait()
			for _, f := range all {
				if f.take(); f.due > 0 && (user == "" || f.user == user) {
					f.client.notice("ack", obj{"d": f.due})
					f.due = 0
				}
			}
			synctest.Wait()
			if !slices.ContainsFunc(all, lacking) {
				return
			}
			time.Sleep(50 * time.Millisecond) // until the store was asked again
		}
	}
	for range 400 {
		g, f := groups[r.IntN(len(groups))], all[r.IntN(len(all))]
		switch n := r.IntN(100); {
		case n < 60:
			g.next++
			cid := fmt.Sprint(g.id, g.next)
			if g.members[f.user] && r.IntN(2) == 0 {
				e.postFrom(g.id, f.user, f.number, cid)
				happened(g, f, cid)
			} else {
				e.post(g.id, "owner", cid)
				happened(g, nil, cid)
			}
		case n < 75 && !g.members[f.user]:
			settle(f.user)
			e.do(&command.JoinGroup{Group: g.id, User: f.user})
			g.members[f.user] = true
			event(g, "joined", f.user)
			settle(f.user)
		case n < 80 && g.members[f.user]:
			e.do(&command.LeaveGroup{Group: g.id, User: f.user})
			event(g, "left", f.user)
			delete(g.members, f.user)
		case n < 84 && g.members[f.user]:
			e.do(&command.RemoveMembers{Group: g.id, By: "owner", Users: []command.UserID{f.user}})
			event(g, "removed", f.user)
			delete(g.members, f.user)
		case n < 88:
			name := fmt.Sprint("name ", r.Uint64())
			e.do(&command.SetGroup{Group: g.id, By: "owner", Name: &name})
			happened(g, nil, "changed []")
		case n < 90:
			e.store.setDown(true)
			time.Sleep(time.Duration(r.IntN(300)) * time.Millisecond)
			e.store.setDown(false)
		case n < 95:
			time.Sleep(time.Duration(r.IntN(3)) * time.Millisecond)
		default:
			for _, f := range all {
				if f.take(); f.due > 0 && (!f.slow || r.IntN(20) == 0) {
					f.client.notice("ack", obj{"d": f.due})
					f.due = 0
				}
			}
		}
	}
	settle("")
	for _, f := range all {
		for _, g := range groups {
			if !slices.Equal(f.got[g.id], f.want[g.id]) {
				t.Fatalf("%s/%d in %s was told\n%s\nwant\n%s", f.user, f.number, g.id,
					strings.Join(f.got[g.id], ", "), strings.Join(f.want[g.id], ", "))
			}
		}
	}
	// Whose pump met a store that was down counts as behind until it asks again,
	// long before a device that does not ack is closed.
	for range 100 {
		if synctest.Wait(); e.metric("belfry_gateway_feed_bytes") == 0 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("%.0f bytes are kept for nobody", e.metric("belfry_gateway_feed_bytes"))
}

// lacks tells whether there is more to come.
func (f *follower) lacks() bool {
	for id := range f.want {
		if len(f.got[id]) < len(f.want[id]) {
			return true
		}
	}
	return false
}

// take takes what has come.
func (f *follower) take() {
	for {
		var frame obj
		if c := f.client; len(c.pushes) > 0 {
			frame, c.pushes = c.pushes[0], c.pushes[1:]
		} else {
			select {
			case r := <-c.frames:
				if r.err != nil {
					c.t.Fatal(r.err)
				}
				frame = r.frame
			default:
				return
			}
		}
		args := frame["args"].(obj)
		switch frame["op"] {
		case "onNewMessage":
			f.due = number(f.client.t, args, "d")
			for _, m := range args["messages"].([]any) {
				id := command.GroupID(m.(obj)["conv"].(string)[2:])
				f.got[id] = append(f.got[id], m.(obj)["cid"].(string))
			}
		case "onGroupEvent":
			id := command.GroupID(args["group"].(string))
			line := fmt.Sprint(args["event"], " []")
			if users, _ := args["users"].([]any); len(users) > 0 {
				line = fmt.Sprint(args["event"], " ", users[0])
			}
			f.got[id] = append(f.got[id], line)
		case "onReadReport":
		default:
			f.client.t.Fatalf("got %v", frame)
		}
	}
}
