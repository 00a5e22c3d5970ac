package contract

// The contract of docs/protocol.md on bad arguments: every refusal has its code,
// names the field, and changes nothing.

import (
	"fmt"
	"strings"
	"testing"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

// state is what a user has of a conversation and the lists around it.
func (c *device) state(peer string) obj {
	c.T.Helper()
	return obj{
		"recents": c.Request("getRecents", nil),
		"history": c.Request("getMessage", obj{"conv": "u:" + peer, "limit": 100}),
		"blocked": c.Request("getBlocked", nil),
	}
}

func TestContractBeforeLogin(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		c := w.device(t, w.bob, "phone", w.codec)
		c.Connect(wstest.DialOptions{})
		for _, op := range []string{
			"send", "getMessage", "getRecents", "readReport", "deleteMessage", "deleteConversation", "setConversation",
			"recall", "getPresence", "subscribePresence", "block", "unblock", "getBlocked", "refreshToken", "setState",
			"logout", "createGroup", "noSuchOp",
		} {
			c.Refused(op, nil, "unauthorized")
			c.Refused(op, obj{"conv": 7}, "unauthorized")
		}
		c.Notice("ack", obj{"d": 1})
		c.Notice("typing", obj{"conv": "u:" + w.alice})
		check(t, "ping", c.Request("ping", nil), obj{"serverTime": someInt})
		c.Request("login", c.LoginArgs(nil))
		c.Sync()
		c.Idle()
	})
}

func TestContractLoginArguments(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		long := strings.Repeat("x", 65)
		c := w.device(t, w.bob, "phone", w.codec)
		c.Connect(wstest.DialOptions{})
		for _, bad := range []struct {
			field string
			value any
		}{
			{"token", 7}, {"token", []any{}},
			{"device", ""}, {"device", long}, {"device", 7},
			{"platform", long}, {"platform", 7},
			{"since", 7}, {"groups", []any{}}, {"groups", obj{"team": 7}},
			{"autoRead", "yes"}, {"autoRead", 1},
			{"recents", "loud"}, {"recents", true},
			{"groupBacklog", -1}, {"groupBacklog", 101}, {"groupBacklog", "20"},
		} {
			namesField(t, c.Refused("login", c.LoginArgs(obj{bad.field: bad.value}), "bad_request"), bad.field)
		}
		groups := obj{}
		for i := range 201 {
			groups[fmt.Sprintf("g%d", i)] = "cursor"
		}
		namesField(t, c.Refused("login", c.LoginArgs(obj{"groups": groups}), "bad_request"), "groups")
		for _, missing := range []string{"token", "device"} {
			args := c.LoginArgs(nil)
			delete(args, missing)
			namesField(t, c.Refused("login", args, "bad_request"), missing)
		}
		c.Refused("login", nil, "bad_request")

		reply := c.Request("login", c.LoginArgs(obj{"extra": "ignored"}))
		check(t, "login", reply, obj{
			"user": w.bob, "session": someInt, "serverTime": someInt, "protocol": 1,
			"limits": obj{"maxBody": 12 << 10, "maxFrame": 88 << 10, "window": 256, "idleMs": 60000},
		})
		c.Sync()
		c.Refused("login", c.LoginArgs(nil), "bad_request") // twice
		c.Refused("login", c.LoginArgs(obj{"device": "laptop"}), "bad_request")
		c.Idle() // and the session lives on
	})
}

func TestContractArguments(t *testing.T) {
	t.Parallel()
	eachCodec(t, harness.Start(t), func(t *testing.T, w *world) {
		bob := w.online(w.bob, "phone", obj{"autoRead": false})
		alice := w.online(w.alice, "phone", nil)
		m := alice.sends(w.bob, "m1", "m2")
		check(t, "live", bob.LiveMessage(), m[0].at(w.bob, 1))
		check(t, "live", bob.LiveMessage(), m[1].at(w.bob, 2))
		before := []any{alice.state(w.bob), bob.state(w.alice)}

		toBob := "u:" + w.bob
		long := strings.Repeat("x", 65)
		seqs, users := make([]any, 101), make([]any, 101)
		for i := range seqs {
			seqs[i], users[i] = 1, fmt.Sprintf("user%d", i)
		}
		// Each case is a good request with one thing wrong.
		good := map[string]obj{
			"send":               {"conv": toBob, "cid": "c", "body": "x"},
			"getMessage":         {"conv": toBob},
			"readReport":         {"conv": toBob, "seq": 1},
			"deleteMessage":      {"conv": toBob, "seqs": []any{1}},
			"deleteConversation": {"conv": toBob},
			"setConversation":    {"conv": toBob, "muted": true},
			"recall":             {"conv": toBob, "seq": 1},
			"getPresence":        {"users": []any{w.bob}},
			"subscribePresence":  {"users": []any{w.bob}},
			"block":              {"user": w.bob},
			"unblock":            {"user": w.bob},
			"refreshToken":       {"token": w.Token(w.alice)},
			"setState":           {"background": true},
		}
		convs := []any{missing, nil, 7, "", w.bob, "u:", "x:" + w.bob, "u:b b", "u:bøb", "u:" + long, "g:", "g:" + long, "g:a b"}
		names := []any{missing, 7, "", "b b", "bøb", long, "a\tb"}
		lists := []any{missing, 7, "bob", []any{}, users, []any{7}, []any{"b b"}, obj{}}
		numbers := []any{missing, nil, 0, -1, 1.5, "1", true, 1 << 53}
		flags := []any{"true", 1, []any{}}
		for _, bad := range []struct {
			op, field string
			values    []any
		}{
			{"send", "conv", convs},
			{"send", "cid", []any{missing, 7, "", long}},
			{"send", "body", []any{missing}},
			{"send", "ttl", []any{-1, 604801, "60", 1.5}},
			{"send", "retry", flags},
			{"send", "mentions", []any{"bob", []any{7}, []any{"b b"}, []any{""}, users}},
			{"getMessage", "conv", convs},
			{"getMessage", "before", []any{0, -1, "1", 1.5}},
			{"getMessage", "after", []any{-1, "1", 1.5}},
			{"getMessage", "range", []any{7, []any{}, []any{1}, []any{1, 2, 3}, []any{2, 1}, []any{0, 1}, []any{"1", "2"}, obj{}}},
			{"getMessage", "limit", []any{0, -1, 101, "20", 1.5}},
			{"readReport", "conv", convs},
			{"readReport", "seq", numbers},
			{"deleteMessage", "conv", convs},
			{"deleteMessage", "seqs", []any{missing, 1, []any{}, seqs, []any{0}, []any{"1"}, []any{1, -1}}},
			{"deleteConversation", "conv", convs},
			{"deleteConversation", "messages", flags},
			{"setConversation", "conv", convs},
			{"setConversation", "muted", flags},
			{"setConversation", "pinned", flags},
			{"recall", "conv", convs},
			{"recall", "seq", numbers},
			{"getPresence", "users", lists},
			{"subscribePresence", "users", lists},
			{"block", "user", append(names, w.alice)}, // oneself
			{"unblock", "user", names},
			{"refreshToken", "token", []any{missing, 7}},
			{"setState", "background", []any{missing, "true", 1}},
		} {
			for _, value := range bad.values {
				args := with(good[bad.op], obj{bad.field: value})
				if value == missing {
					delete(args, bad.field)
				}
				namesField(t, alice.Refused(bad.op, args, "bad_request"), bad.field)
			}
		}
		for _, two := range []obj{
			{"before": 2, "after": 1}, {"before": 2, "range": []any{1, 2}}, {"after": 1, "range": []any{1, 2}},
		} {
			alice.Refused("getMessage", with(good["getMessage"], two), "bad_request")
		}
		// args that are no map.
		for op := range good {
			for i, args := range []any{[]any{}, "args", 7, true} {
				id := int64(1_000_000 + i)
				frame, err := w.codec.Encode(obj{"id": id, "op": op, "args": args})
				alice.Must(err, "encode")
				if _, refusal := alice.Answer(id, frame); refusal == nil || refusal.Code != "bad_request" {
					t.Errorf("%s with args %v: %v, want bad_request", op, args, refusal)
				}
			}
		}

		// What is not there.
		for op, args := range map[string]obj{
			"readReport":         {"conv": "u:" + w.carol, "seq": 1},
			"deleteMessage":      {"conv": "u:" + w.carol, "seqs": []any{1}},
			"deleteConversation": {"conv": "u:" + w.carol},
			"recall":             {"conv": "u:" + w.carol, "seq": 1},
		} {
			alice.Refused(op, args, "not_found")
		}
		alice.Refused("deleteMessage", obj{"conv": toBob, "seqs": []any{1, 3}}, "not_found") // 1 as well stays
		alice.Refused("recall", obj{"conv": toBob, "seq": 3}, "not_found")
		bob.Refused("recall", obj{"conv": "u:" + w.alice, "seq": 1}, "forbidden")
		check(t, "getMessage of nobody", alice.Request("getMessage", obj{"conv": "u:" + w.carol}), page(0, 0, false, []any{}))
		for _, op := range []string{"send", "getMessage", "readReport", "deleteMessage", "deleteConversation", "recall"} {
			alice.Refused(op, with(good[op], obj{"conv": "g:team"}), "not_found")
		}
		for _, op := range []string{"noSuchOp", "", "Send", "creategroup", "onNewMessage"} {
			alice.Refused(op, nil, "unknown_op")
		}
		// Bad notices have no reply, and end nothing.
		for _, args := range []obj{nil, {"d": -1}, {"d": "1"}, {"d": 1 << 40}} {
			alice.Notice("ack", args)
		}
		for _, args := range []obj{nil, {"conv": "u:b b"}, {"conv": "g:team"}, {"conv": "u:" + w.alice}} {
			alice.Notice("typing", args)
		}
		alice.Notice("noSuchNotice", nil)

		check(t, "state", []any{alice.state(w.bob), bob.state(w.alice)}, before)
		alice.Idle()
		bob.Idle()
	})
}

// missing stands for a key that is not sent.
const missing placeholder = "nothing"

// refusedBody is refused without the body in the failure's text.
