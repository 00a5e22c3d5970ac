package contract

// What the scenarios of docs/semantics.md share: users named per codec, so that
// both codecs run against one server at a time, and an exact comparison of
// frames.

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
	"github.com/belfry-im/belfry/cmd/belfry/e2e/wstest"
)

// A world is one server as one codec's run of a test sees it. The users are its
// own; nobody else writes to them.
type world struct {
	*harness.Server
	t                 *testing.T
	codec             *wstest.Codec
	alice, bob, carol string
}

// A device is a client with the vocabulary of these tests.
type device struct{ *wstest.Client }

// eachCodec runs test once per codec, in parallel, against s.
func eachCodec(t *testing.T, s *harness.Server, test func(t *testing.T, w *world)) {
	for _, c := range wstest.Codecs {
		t.Run(c.Name(), func(t *testing.T) {
			t.Parallel()
			test(t, newWorld(t, s, c))
		})
	}
}

// eachCodecAlone is eachCodec for tests that stop the server, or a part of it:
// one codec after the other, and the server fails the test that runs.
func eachCodecAlone(t *testing.T, s *harness.Server, test func(t *testing.T, w *world)) {
	for _, c := range wstest.Codecs {
		t.Run(c.Name(), func(t *testing.T) {
			outer := s.T
			s.T = t
			defer func() { s.T = outer }()
			test(t, newWorld(t, s, c))
		})
	}
}

func newWorld(t *testing.T, s *harness.Server, c *wstest.Codec) *world {
	w := &world{Server: s, t: t, codec: c}
	w.alice, w.bob, w.carol = w.user("alice"), w.user("bob"), w.user("carol")
	return w
}

// user makes a name that no other run of this server uses.
func (w *world) user(name string) string { return name + "." + w.codec.Name() }

// device names a device without connecting it.
func (w *world) device(t testing.TB, user, name string, codec *wstest.Codec) *device {
	return &device{w.Server.Device(t, user, name, codec)}
}

// login connects a device by the world's codec and logs it in. What the login
// pushes is left to the caller.
func (w *world) login(user, device string, args obj) *device {
	w.t.Helper()
	c := w.device(w.t, user, device, w.codec)
	c.Login(args)
	return c
}

// online is login for a device whose sync has nothing of interest.
func (w *world) online(user, device string, args obj) *device {
	w.t.Helper()
	c := w.login(user, device, args)
	c.Sync()
	return c
}

// arrived waits until user's view of conv reaches seq. A send is answered when
// it is safe in the sender's shard; the receiver's has it a moment later. The
// probe that looks acks nothing and so leaves no trace in the queue; nor does it
// wait for its sync, which without acks may have no end.
func (w *world) arrived(user, conv string, seq int64) {
	w.t.Helper()
	probe := w.login(user, "probe", obj{"autoRead": false, "recents": "off"})
	wstest.Eventually(w.t, fmt.Sprintf("seq %d in %s of %s", seq, conv, user), func() bool {
		return wstest.Num(w.t, probe.Request("getMessage", obj{"conv": conv, "limit": 1}), "to") >= seq
	})
	probe.Logout()
}

// passed waits until the server's clock is beyond a time in ms.
func (w *world) passed(c *device, timeMS int64) {
	w.t.Helper()
	wstest.Eventually(w.t, "the server's clock moves on", func() bool {
		return wstest.Num(w.t, c.Request("ping", nil), "serverTime") > timeMS
	})
}

// cursorOnlyAtEnd requires that of the onNewMessage frames of a sync only the
// last carries a cursor.
func cursorOnlyAtEnd(t testing.TB, all []wstest.Push) {
	t.Helper()
	var frames []wstest.Push
	for _, p := range all {
		if p.Op == "onNewMessage" {
			frames = append(frames, p)
		}
	}
	for i, p := range frames {
		if _, has := p.Args["cursor"].(string); has != (i == len(frames)-1) {
			t.Errorf("onNewMessage %d of %d: has a cursor = %v", i+1, len(frames), has)
		}
	}
}

// messagesIn returns the message objects of the onNewMessage frames among all.
func messagesIn(all []wstest.Push) []any {
	list := []any{}
	for _, p := range all {
		if p.Op == "onNewMessage" {
			messages, _ := p.Args["messages"].([]any)
			list = append(list, messages...)
		}
	}
	return list
}

// changesIn returns the other pushes before onSynced, as [op, args].
func changesIn(all []wstest.Push) []any {
	list := []any{}
	for _, p := range all {
		if p.Op != "onNewMessage" && p.Op != "onSynced" {
			list = append(list, []any{p.Op, p.Args})
		}
	}
	return list
}

// syncedIn returns the args of onSynced, the last of all.
func syncedIn(all []wstest.Push) obj { return all[len(all)-1].Args }

// A sentMessage is what a sender knows of its message.
type sentMessage struct {
	from, to string
	args     obj // of the send
	reply    obj
}

// sends sends one message per text, cid and body made of it, and checks the
// replies: nothing but id, seq and time.
func (c *device) sends(to string, texts ...string) []sentMessage {
	c.T.Helper()
	var all []sentMessage
	for _, text := range texts {
		all = append(all, c.sendBody(to, text, obj{"text": text}, nil))
	}
	return all
}

// sendBody sends any body; more is merged into the args.
func (c *device) sendBody(to, cid string, body any, more obj) sentMessage {
	c.T.Helper()
	args := obj{"conv": "u:" + to, "cid": cid, "body": body}
	maps.Copy(args, more)
	reply := c.Request("send", args)
	check(c.T, "reply of send", reply, obj{"id": someText, "seq": someInt, "time": someInt})
	return sentMessage{from: c.User, to: to, args: args, reply: reply}
}

func (m sentMessage) seq() int64  { return m.reply["seq"].(int64) }
func (m sentMessage) time() int64 { return m.reply["time"].(int64) }

// at is the message object as user has it, at seq of its view.
func (m sentMessage) at(user string, seq int) obj {
	o := obj{
		"id":   m.reply["id"],
		"conv": "u:" + m.peerOf(user),
		"from": m.from,
		"seq":  seq,
		"time": m.reply["time"],
		"cid":  m.args["cid"],
		"body": m.args["body"],
	}
	for _, key := range []string{"ttl", "mentions"} {
		if v, ok := m.args[key]; ok {
			o[key] = v
		}
	}
	return o
}

func (m sentMessage) peerOf(user string) string {
	if user == m.from {
		return m.to
	}
	return m.from
}

// seenBy is the objects of messages that fill user's view from seq on.
func seenBy(user string, seq int, messages ...sentMessage) []any {
	list := []any{}
	for i, m := range messages {
		list = append(list, m.at(user, seq+i))
	}
	return list
}

// entry is an entry of conversations, last being its last message.
func entry(user string, last sentMessage, lastSeq, readSeq, unread int) obj {
	return obj{
		"conv": "u:" + last.peerOf(user), "lastSeq": lastSeq, "time": last.reply["time"],
		"readSeq": readSeq, "unread": unread,
	}
}

// with is o and more.
func with(o, more obj) obj { return wstest.Merged(o, more) }

// syncedArgs is onSynced with nothing lost.
func syncedArgs(offline, unreadTotal int, conversations ...any) obj {
	return obj{
		"offline": offline, "lost": []any{}, "cursor": someText, "unreadTotal": unreadTotal, "unreadUnmuted": unreadTotal,
		"conversations": slices.Concat([]any{}, conversations), "groups": []any{},
	}
}

// page is the reply of getMessage.
func page(from, to int, more bool, messages []any, gaps ...any) obj {
	return obj{"from": from, "to": to, "more": more, "messages": messages, "gaps": slices.Concat([]any{}, gaps)}
}

func gap(from, to int, reason string) obj { return obj{"from": from, "to": to, "reason": reason} }

func run(user string, from, to, count int) obj {
	return obj{"conv": "u:" + user, "from": from, "to": to, "count": count}
}

// numbered makes the texts prefix1 … prefixN.
func numbered(prefix string, n int) []string {
	var texts []string
	for i := range n {
		texts = append(texts, fmt.Sprintf("%s%d", prefix, i+1))
	}
	return texts
}

// A placeholder stands in an expected value for what the test cannot know.
type placeholder string

const (
	someText placeholder = "a text that is not empty"
	someInt  placeholder = "an integer above 0"
)

// check compares exactly: every key, every order. An expected 0, false or empty
// text also stands for a key that is absent, as the keys marked "?" are.
func check(t testing.TB, what string, got, want any) {
	t.Helper()
	if diff := difference(got, want); diff != "" {
		t.Fatalf("%s: %s\ngot  %v\nwant %v", what, diff, got, want)
	}
}

// difference names the first place where got is not what is wanted, "" if none.
func difference(got, want any) string {
	if n, ok := got.(int); ok {
		got = int64(n)
	}
	switch want := want.(type) {
	case placeholder:
		text, _ := got.(string)
		n, _ := got.(int64)
		if want == someText && text == "" || want == someInt && n <= 0 {
			return fmt.Sprintf(" = %v (%T), want %s", got, got, string(want))
		}
		return ""
	case int:
		return difference(got, int64(want))
	case obj:
		o, ok := got.(obj)
		if !ok {
			break
		}
		for _, key := range slices.Sorted(maps.Keys(want)) {
			value, has := o[key]
			if !has && want[key] != nil && reflect.ValueOf(want[key]).IsZero() {
				continue
			}
			if !has {
				return fmt.Sprintf(".%s is missing", key)
			}
			if diff := difference(value, want[key]); diff != "" {
				return "." + key + diff
			}
		}
		for _, key := range slices.Sorted(maps.Keys(o)) {
			if _, known := want[key]; !known {
				return fmt.Sprintf(".%s = %v is too much", key, o[key])
			}
		}
		return ""
	case []any:
		list, ok := got.([]any)
		if !ok {
			break
		}
		for i := range min(len(list), len(want)) {
			if diff := difference(list[i], want[i]); diff != "" {
				return fmt.Sprintf("[%d]%s", i, diff)
			}
		}
		if len(list) != len(want) {
			return fmt.Sprintf(" has %d elements, want %d", len(list), len(want))
		}
		return ""
	}
	if !reflect.DeepEqual(got, want) {
		return fmt.Sprintf(" = %v (%T), want %v (%T)", got, got, want, want)
	}
	return ""
}

// namesField requires that the text of a refusal names the field at fault.
func namesField(t testing.TB, err *wstest.Error, field string) {
	t.Helper()
	if !strings.Contains(err.Message, field) {
		t.Errorf("%s: %q does not name %s", err.Code, err.Message, field)
	}
}
