package contract

// What the tests of groups share.

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

// group makes a group of c's user and gives its id, once c knows of it.
func (c *device) group(kind string, more obj) string {
	c.T.Helper()
	id := wstest.Str(c.T, c.Request("createGroup", with(obj{"kind": kind}, more)), "group")
	c.event(id, "created", c.User)
	return id
}

// groupOf makes a group of owner and members, who may be away, and returns its id.
// The shards of all of them know of it.
func (w *world) groupOf(owner *device, kind string, members ...string) string {
	w.t.Helper()
	id := owner.group(kind, obj{"members": texts(members...)})
	for _, user := range members {
		w.listed(user, id, true)
	}
	return id
}

// listed requires that a group is among user's, or is not: the user's shard learns
// that by mail, but who has been answered finds it there.
func (w *world) listed(user, group string, want bool) {
	w.t.Helper()
	probe := w.login(user, "probe", obj{"autoRead": false, "recents": "off", "groupBacklog": 0})
	if slices.Contains(probe.groups(), group) != want {
		w.t.Errorf("%s has %s: %v", user, group, !want)
	}
	probe.Logout()
}

// groups returns the ids that getGroups lists.
func (c *device) groups() []string {
	c.T.Helper()
	list, ok := c.Request("getGroups", nil)["groups"].([]any)
	if !ok {
		c.T.Fatalf("%s: getGroups has no list", c.Name())
	}
	ids := []string{}
	for _, e := range list {
		ids = append(ids, wstest.Str(c.T, e.(obj), "group"))
	}
	return ids
}

// members returns role by user, from all pages of getMembers.
func (c *device) members(group string) obj {
	c.T.Helper()
	roles, after := obj{}, ""
	for {
		args := obj{"group": group, "limit": 100}
		if after != "" {
			args["after"] = after
		}
		reply := c.Request("getMembers", args)
		for _, e := range reply["members"].([]any) {
			after = wstest.Str(c.T, e.(obj), "user")
			if roles[after] != nil {
				c.T.Fatalf("%s: getMembers has %s twice", c.Name(), after)
			}
			roles[after] = e.(obj)["role"]
		}
		if reply["more"] != true {
			return roles
		}
	}
}

// event takes the next onGroupEvent about group, which has to be this one; no
// users means that they are not looked at.
func (c *device) event(group, event, by string, users ...string) obj {
	c.T.Helper()
	ctx, cancel := c.Context()
	defer cancel()
	p, err := c.Conn.NextOf(ctx, func(p wstest.Push) bool { return p.Op == "onGroupEvent" && p.Args["group"] == group })
	c.Must(err, fmt.Sprintf("expecting %s of %s", event, group))
	got := maps.Clone(p.Args)
	delete(got, "counts") // see TestContractGroupsThatCountNone
	want := obj{"group": group, "event": event, "by": by, "time": someInt}
	if named, _ := got["users"].([]any); got["cursor"] != nil && (event == "joined" || event == "created") && slices.Contains(named, any(c.User)) {
		want["cursor"] = someText // only who joins by it gets one
	}
	if users == nil {
		delete(got, "users")
	} else {
		list, _ := got["users"].([]any)
		got["users"] = sorted(list)
		want["users"] = sorted(texts(users...))
	}
	check(c.T, c.Name()+": onGroupEvent", got, want)
	return p.Args
}

// hear takes one message, and leaves what else has been pushed.
func (c *device) hear() any {
	c.T.Helper()
	return c.FirstOf(wstest.Push{Op: "onNewMessage", Args: c.Expect("onNewMessage")})
}

// hears requires that these are the next messages.
func (c *device) hears(messages ...groupMessage) {
	c.T.Helper()
	for _, m := range messages {
		check(c.T, c.Name()+": live", c.hear(), m.obj())
	}
}

// resumeGroups is resume with the cursors of groups as well.
func (c *device) resumeGroups(args obj) obj {
	c.T.Helper()
	return c.Resume(with(obj{"groups": with(c.GroupCursors, nil)}, args))
}

// A groupMessage is what its sender knows of a message to a group.
type groupMessage struct {
	group, from string
	args, reply obj
}

// tells sends one message per text to a group.
func (c *device) tells(group string, texts ...string) []groupMessage {
	c.T.Helper()
	var all []groupMessage
	for _, text := range texts {
		all = append(all, c.tellBody(group, text, obj{"text": text}, nil))
	}
	return all
}

func (c *device) tellBody(group, cid string, body any, more obj) groupMessage {
	c.T.Helper()
	args := with(obj{"conv": "g:" + group, "cid": cid, "body": body}, more)
	reply := c.Request("send", args)
	check(c.T, "reply of send", reply, obj{"id": someText, "seq": someInt, "time": someInt})
	return groupMessage{group, c.User, args, reply}
}

func (m groupMessage) seq() int64  { return m.reply["seq"].(int64) }
func (m groupMessage) time() int64 { return m.reply["time"].(int64) }

// obj is the message object, the same for all members.
func (m groupMessage) obj() obj {
	o := obj{
		"id": m.reply["id"], "conv": "g:" + m.group, "from": m.from, "seq": m.reply["seq"],
		"time": m.reply["time"], "cid": m.args["cid"], "body": m.args["body"],
	}
	for _, key := range []string{"ttl", "mentions"} {
		if v, ok := m.args[key]; ok {
			o[key] = v
		}
	}
	return o
}

// objs is the objects of messages.
func objs(messages ...groupMessage) []any {
	list := []any{}
	for _, m := range messages {
		list = append(list, m.obj())
	}
	return list
}

// groupEntry is an entry of conversations, last being its last message. unread
// below 0 means that the kind has none.
func groupEntry(last groupMessage, readSeq, unread int) obj {
	o := obj{
		"conv": "g:" + last.group, "lastSeq": last.seq(), "time": last.time(), "readSeq": readSeq,
		"cursor": someText,
	}
	if unread >= 0 {
		o["unread"] = unread
	} else {
		o["counts"] = false
	}
	return o
}

// messagesOf returns the messages of one conversation among those of all.
func messagesOf(conv string, all []wstest.Push) []any {
	return slices.DeleteFunc(messagesIn(all), func(m any) bool { return m.(obj)["conv"] != conv })
}

// entryOf returns the entry of conv in a list of conversations, nil if none.
func entryOf(conv string, list any) obj {
	for _, e := range list.([]any) {
		if e.(obj)["conv"] == conv {
			return e.(obj)
		}
	}
	return nil
}

// recalls gathers what all onRecall pushes about a group take away: seq to sender,
// "" for whoever sent it.
func recalls(t testing.TB, group string, by string, all ...wstest.Push) map[int64]string {
	t.Helper()
	seqs := map[int64]string{}
	for _, p := range all {
		if p.Op != "onRecall" || p.Args["conv"] != "g:"+group {
			continue
		}
		if got, _ := p.Args["by"].(string); got != by {
			t.Fatalf("onRecall %v, want by %q", p.Args, by)
		}
		sender, _ := p.Args["sender"].(string)
		for _, r := range p.Args["ranges"].([]any) {
			for seq := r.([]any)[0].(int64); seq <= r.([]any)[1].(int64); seq++ {
				seqs[seq] = sender
			}
		}
	}
	return seqs
}

// checkHas compares the keys of want and leaves others.
func checkHas(t testing.TB, what string, got, want obj) {
	t.Helper()
	some := obj{}
	for key := range want {
		if v, ok := got[key]; ok {
			some[key] = v
		}
	}
	check(t, what, some, want)
}

func texts(list ...string) []any {
	all := []any{}
	for _, s := range list {
		all = append(all, s)
	}
	return all
}

func sorted(list []any) []any {
	return slices.SortedFunc(slices.Values(list), func(a, b any) int {
		return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
	})
}

// failures is the failed of addMembers and removeMembers.
func failures(code string, users ...string) []any {
	list := []any{}
	for _, user := range users {
		list = append(list, obj{"user": user, "code": code})
	}
	return list
}
