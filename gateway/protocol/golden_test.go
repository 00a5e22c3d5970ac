package protocol

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew: the wire changes with them")

// goldenRequests are the args of each op, every field of them set.
var goldenRequests = []struct {
	op   string
	args Args
}{
	{OpLogin, &LoginArgs{Token: "t.\"1\"", Device: "phone", Platform: "ios", HasSince: true, Since: "1-5", Groups: []GroupCursor{{"team", "c1"}, {`"`, "c2"}},
		AutoRead: true, Recents: RecentsQuiet, GroupBacklog: 7}},
	{OpAck, &AckArgs{D: 300}},
	{OpRefreshToken, &RefreshTokenArgs{Token: "t2"}},
	{OpSetState, &SetStateArgs{Background: true}},
	{OpPing, &NoArgs{}},
	{OpLogout, &NoArgs{}},
	{OpSend, &sendArgs{SendArgs{Conv: UserConv("bob"), CID: "cid\n1", Body: []byte("\x81\xa1a\x93\x01\xc0\xa1\x02"), HasTTL: true, TTL: 60, Retry: true, Mentions: []string{"al", "bo"}}}},
	{OpGetMessage, &GetMessageArgs{Conv: GroupConv("team"), Before: 70000, Limit: 5}},
	{OpGetMessage, &GetMessageArgs{Conv: GroupConv("team"), After: 3, HasAfter: true, Limit: 5}},
	{OpGetMessage, &GetMessageArgs{Conv: GroupConv("team"), From: 3, To: 9, Limit: 5}},
	{OpGetMessage, &GetMessageArgs{Conv: UserConv("bob"), Limit: 20}},
	{OpGetRecents, &NoArgs{}},
	{OpGetConversations, &GetConversationsArgs{After: "u5", Limit: 30}},
	{OpReadReport, &ReadReportArgs{Conv: UserConv("bob"), Seq: 9}},
	{OpRecall, &RecallArgs{Conv: UserConv("bob"), Seq: 9}},
	{OpDeleteMessage, &DeleteMessageArgs{Conv: UserConv("bob"), Seqs: []uint64{4, 5000000000}}},
	{OpDeleteConversation, &DeleteConversationArgs{Conv: UserConv("bob"), Messages: true}},
	{OpSetConversation, &SetConversationArgs{Conv: UserConv("bob"), Muted: new(true), Pinned: new(false), Unread: new(true)}},
	{OpTyping, &TypingArgs{Conv: UserConv("bob")}},
	{OpGetPresence, &PresenceArgs{Users: []string{"al", "bo"}}},
	{OpSubscribePresence, &PresenceArgs{Users: []string{"al", "bo"}}},
	{OpBlock, &BlockArgs{User: "mallory"}},
	{OpUnblock, &BlockArgs{User: "mallory"}},
	{OpGetBlocked, &NoArgs{}},
	{OpCreateGroup, &CreateGroupArgs{Group: "team", Kind: KindPublic, Name: "The Team", Members: []string{"al", "bo"}, Properties: []byte("\x81\xa1a\x01"),
		MaxMembers: 200, Join: JoinApprove, History: HistoryAll, Unread: new(true), MutedAll: new(false), StoresMessages: new(true)}},
	{OpJoinGroup, &GroupArgs{Group: "team", Message: "let me in"}},
	{OpLeaveGroup, &GroupArgs{Group: "team", Message: "bye"}},
	{OpDismissGroup, &GroupArgs{Group: "team", Message: "bye"}},
	{OpAnswerJoin, &AnswerJoinArgs{Group: "team", User: "al", Accept: true}},
	{OpAnswerOwner, &AnswerOwnerArgs{Group: "team", Accept: true}},
	{OpAddMembers, &MembersArgs{Group: "team", Users: []string{"al", "bo"}, Ban: 60}},
	{OpRemoveMembers, &MembersArgs{Group: "team", Users: []string{"al", "bo"}, Ban: 60}},
	{OpUnban, &UnbanArgs{Group: "team", User: "al"}},
	{OpSetMember, &SetMemberArgs{Group: "team", User: "al", Role: RoleAdmin, MutedUntil: new(int64(1795400000123))}},
	{OpSetGroup, &SetGroupArgs{Group: "team", Name: new("New"), Properties: []byte("\x81\xa1a\x01"), Owner: "al",
		MaxMembers: 200, Join: JoinOpen, History: HistoryNone, Unread: new(true), MutedAll: new(false)}},
	{OpGetBans, &GetMembersArgs{Group: "team", After: "al", Limit: 30}},
	{OpGetGroup, &GroupArgs{Group: "team", Message: "?"}},
	{OpGetMembers, &GetMembersArgs{Group: "team", After: "al", Limit: 30}},
	{OpGetGroups, &GetGroupsArgs{After: "team", Limit: 30}},
}

func goldenMessage() Message {
	return Message{ID: testID, Conv: UserConv("alice"), From: "alice", Seq: 3, Time: 1795400000123, CID: []byte("c-1"), Body: []byte("\x81\xa4text\xa2hi"),
		TTL: 60, Ephemeral: true, Mentions: []string{"al", "bo"}}
}

func goldenConversation() Conversation {
	return Conversation{Conv: GroupConv("team"), LastSeq: 9, Time: 1795400000123, ReadSeq: 7, Unread: 2, PeerReadSeq: 6, Cursor: "gc", Muted: true, Pinned: true, Marked: true, Uncounted: true,
		Last: new(goldenMessage())}
}

func goldenGroup() GroupOK {
	return GroupOK{Group: "team", Kind: KindPublic, Name: "The Team", Owner: "al", MemberCount: 4, LastSeq: 9, Role: RoleAdmin, Properties: []byte("\x81\xa1a\x01"),
		Settings: &GroupSettings{MaxMembers: 2000, Join: JoinApprove, History: HistorySinceJoin, Unread: true, StoresMessages: true, MutedAll: true},
		Requests: []JoinRequest{{User: "cy", Message: "hi", Time: 7}}, Offered: "bo"}
}

// goldenReplies are what requests are answered with, every field of it set.
var goldenReplies = []OK{
	&LoginOK{User: "bob", Session: 7, ServerTime: 1795400000123, Protocol: 1, Limits: SessionLimits{MaxBody: 12288, MaxFrame: 90112, Window: 256, IdleMS: 60000}},
	&RefreshOK{Exp: 1795400000123},
	&PingOK{ServerTime: 1795400000123},
	&SendOK{ID: testID, Seq: 3, Time: 1795400000123, Duplicate: true},
	&ReadReportOK{Unread: 3},
	&PageOK{Messages: []Message{goldenMessage()}, From: 3, To: 5, Gaps: []Gap{{From: 4, To: 5, Reason: "recalled"}}, More: true},
	&ConversationsOK{Conversations: []Conversation{goldenConversation()}, More: true, After: "u5"},
	&PresenceOK{Presence: []UserPresence{{User: "bob", Online: true, LastSeen: 5}, {User: `"`, LastSeen: 6}}},
	&BlockedOK{Users: []string{"al", "bo"}},
	&CreateGroupOK{Group: "team", Cursor: "gc", Failed: []MemberFailure{{User: "al", Code: CodeForbidden}}},
	&JoinGroupOK{Pending: true, Cursor: "gc"},
	&SetGroupOK{Pending: true},
	&BansOK{Bans: []Ban{{User: "al", Until: 1795400000123}}, More: true},
	&AddMembersOK{Added: []string{"bo"}, Failed: []MemberFailure{{User: "al", Code: CodeForbidden}}},
	&RemoveMembersOK{Removed: []string{"bo"}, Failed: []MemberFailure{{User: "al", Code: CodeForbidden}}},
	new(goldenGroup()),
	&GroupsOK{Groups: []GroupOK{goldenGroup(), {Group: "g", Kind: KindLive}}, More: true},
	&MembersOK{Members: []Member{{User: "al", Role: RoleOwner, MutedUntil: 1795400000123}}, More: true},
}

// goldenPushes are the args of each push, every field of them set.
var goldenPushes = []payload{
	&NewMessage{D: 300, Messages: []Message{goldenMessage()}, Cursor: "1-5", GroupCursors: []GroupCursor{{"team", "c1"}}, Skipped: 4},
	&SyncedPart{Lost: []Lost{{Conv: UserConv("al"), From: 1, To: 4, Count: 3}}, Conversations: []Conversation{goldenConversation()},
		Users: []Conversation{goldenConversation()}, Groups: []Conversation{goldenConversation()}},
	&Synced{Offline: 2, Lost: []Lost{{Conv: UserConv("al"), From: 1, To: 4, Count: 3}}, Cursor: "1-5", Reset: true, ResetGroups: []string{"team", "all"}, UnreadTotal: 5, UnreadUnmuted: 4,
		Conversations: []Conversation{goldenConversation()}, Users: []Conversation{goldenConversation()}, Groups: []Conversation{goldenConversation()}},
	&ReadReport{Conv: UserConv("al"), Seq: 3},
	&ReadReceipt{Conv: UserConv("al"), Seq: 3, Time: 1795400000123},
	&Recall{Conv: GroupConv("team"), Ranges: []Range{{From: 1, To: 2}, {From: 5, To: 5}}, By: "al", Sender: "bo"},
	&ConversationDeleted{Conv: UserConv("al"), Messages: true, UpTo: 7},
	&MessageDeleted{Conv: UserConv("al"), Seqs: []uint64{1, 9}},
	&ConversationChanged{Conv: UserConv("al"), Muted: true, Pinned: true, Unread: true},
	&Blocked{User: "al", Blocked: true},
	&GroupEvent{Group: "team", Event: EventJoined, By: "al", Users: []string{"bo"}, Time: 1795400000123, Cursor: "gc", Uncounted: true},
	&Presence{User: "al", Status: StatusOnline, Time: 1795400000123},
	&Typing{User: "al", Conv: UserConv("bo"), Time: 1795400000123},
	&Kicked{Reason: KickPolicy},
}

// A goldenFrame is one payload in the frame that carries it.
type goldenFrame struct {
	kind    string // request, reply or push
	payload payload
	encode  func(Codec) []byte
}

func goldenFrames() []goldenFrame {
	var frames []goldenFrame
	for _, r := range goldenRequests {
		frames = append(frames, goldenFrame{"request", r.args.(payload), func(c Codec) []byte { return AppendRequest(nil, c, 7, r.op, r.args) }})
	}
	for _, ok := range goldenReplies {
		frames = append(frames, goldenFrame{"reply", ok, func(c Codec) []byte { return AppendReplyOK(nil, c, 7, ok) }})
	}
	for _, p := range goldenPushes {
		frames = append(frames, goldenFrame{"push", p, func(c Codec) []byte { return appendPush(nil, c, p) }})
	}
	return frames
}

// name is that of the payload's type.
func (f *goldenFrame) name() string {
	if _, ok := f.payload.(*sendArgs); ok {
		return "SendArgs"
	}
	return reflect.TypeOf(f.payload).Elem().Name()
}

// args reads a frame of this kind down to its payload.
func (f *goldenFrame) args(t *testing.T, codec Codec, frame []byte) Raw {
	t.Helper()
	if r, err := DecodeRequest(codec, frame); err == nil && r.Args.data != nil && r.ID != 0 {
		return r.Args
	}
	s, err := DecodeServerFrame(codec, frame)
	if err != nil {
		t.Fatalf("%s %q: %v", codec.Name(), frame, err)
	}
	return s.Payload
}

// TestGoldenFrames reads every payload back from its frame, in both encodings.
func TestGoldenFrames(t *testing.T) {
	for _, f := range goldenFrames() {
		if name := zeroField(reflect.ValueOf(f.payload).Elem()); name != "" {
			t.Errorf("%T: %s is zero: a golden frame has every field set", f.payload, name)
		}
		for _, codec := range codecs {
			frame := f.encode(codec)
			back := fresh(f.payload)
			if err := back.Decode(f.args(t, codec, frame)); err != nil || !reflect.DeepEqual(back, f.payload) {
				t.Errorf("%s: Decode(%q) = %+v, %v, want %+v", codec.Name(), frame, back, err, f.payload)
			}
		}
	}
}

// zeroField names a field that is zero, but for those that exclude each other and
// those that are no field of the wire.
func zeroField(v reflect.Value) string {
	if v.Kind() != reflect.Struct {
		return ""
	}
	for i := range v.NumField() {
		f, name := v.Field(i), v.Type().Field(i).Name
		switch v.Interface().(type) {
		case GetMessageArgs, Conv, ID:
			continue
		case PageOK:
			if name == "Encoded" {
				continue
			}
		}
		if f.Kind() == reflect.Pointer && !f.IsNil() {
			f = f.Elem()
			if f.Kind() != reflect.Struct {
				continue
			}
		}
		if f.Kind() == reflect.Slice && f.Len() > 0 && f.Index(0).Kind() == reflect.Struct {
			f = f.Index(0)
		}
		if f.IsZero() {
			return name
		}
		if inner := zeroField(f); inner != "" {
			return name + "." + inner
		}
	}
	return ""
}

// probes are values that a field is given instead of its own.
var probes = []struct {
	name  string
	value any
}{
	{"null", nil}, {"true", true}, {"0", 0}, {"5", 5}, {"-1", -1}, {"1.5", 1.5}, {"2^53", 1 << 53}, {`""`, ""}, {`"x"`, "x"}, {`"a b"`, "a b"}, {`".."`, ".."},
	{"50 B", strings.Repeat("x", 50)}, {"70 B", strings.Repeat("x", 70)}, {"300 B", strings.Repeat("x", 300)}, {"9000 B", strings.Repeat("x", 9000)},
	{"[]", []any{}}, {"[5]", []any{5}}, {`["a b"]`, []any{"a b"}}, {"[[2,1]]", []any{[]any{2, 1}}}, {"[{}]", []any{map[string]any{}}},
	{"101 users", many(101, "al")}, {"501 users", many(501, "al")}, {"101 seqs", many(101, 5)},
	{"{}", map[string]any{}}, {`{"a b":5}`, map[string]any{"a b": 5}}, {`{"g":"c"}`, map[string]any{"g": "c"}}, {`{"g":{}}`, map[string]any{"g": map[string]any{}}},
}

func many(n int, v any) []any { return slices.Repeat([]any{v}, n) }

// refusedKeys are refused where a client might think that they are taken.
var refusedKeys = map[string][]string{
	"CreateGroupArgs": {"owner", "settings"},
	"SetGroupArgs":    {"kind", "stored", "members", "settings"},
}

// TestGoldenRefusals holds what each field of each payload says to each probe.
func TestGoldenRefusals(t *testing.T) {
	p := prober{t: t, probed: make(map[string]bool)}
	for _, f := range goldenFrames() {
		name := f.name()
		d := json.NewDecoder(bytes.NewReader(f.args(t, JSON, f.encode(JSON)).data))
		d.UseNumber()
		var whole map[string]any
		if err := d.Decode(&whole); err != nil {
			t.Fatal(err)
		}
		nativeNumbers(whole)
		for _, key := range refusedKeys[name] {
			whole[key] = nil
		}
		p.into, p.whole = f.payload, whole
		p.fields(name, whole)
	}
	wantGolden(t, "testdata/refusals.golden", p.lines)
}

// A prober puts each probe in the place of each field of a payload, in turn.
type prober struct {
	t      *testing.T
	into   payload
	whole  map[string]any
	probed map[string]bool // lists of fields of inner objects
	lines  []string        // the path of each field, then which probes have which outcome
}

func (p *prober) fields(path string, m map[string]any) {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		path, value := path+"."+key, m[key]
		by := make(map[string][]string)
		note := func(name string) {
			said := p.outcome()
			by[said] = append(by[said], name)
		}
		delete(m, key)
		note("absent")
		for _, probe := range probes {
			m[key] = probe.value
			note(probe.name)
		}
		m[key] = value
		p.lines = append(p.lines, path)
		for _, said := range slices.Sorted(maps.Keys(by)) {
			p.lines = append(p.lines, fmt.Sprintf("\t%s: %s", said, strings.Join(by[said], ", ")))
		}
		if list, ok := value.([]any); ok {
			value = list[0]
		}
		inner, ok := value.(map[string]any)
		if kind := fmt.Sprint(slices.Sorted(maps.Keys(inner))); ok && key != "body" && key != "properties" && !p.probed[kind] {
			p.probed[kind] = true
			p.fields(path, inner)
		}
	}
}

// outcome reads the payload as it is now, in both encodings.
func (p *prober) outcome() string {
	text, err := json.Marshal(p.whole)
	if err != nil {
		p.t.Fatal(err)
	}
	packed, err := EncodeBody(p.whole)
	if err != nil {
		p.t.Fatal(err)
	}
	said := [2]string{"ok", "ok"}
	for i, raw := range []Raw{{JSON, text}, {Msgpack, packed}} {
		if err := fresh(p.into).Decode(raw); err != nil {
			said[i] = err.(*FieldError).Code + " " + err.(*FieldError).Message()
		}
	}
	if said[0] != said[1] {
		return said[0] + " | " + said[1]
	}
	return said[0]
}

func wantGolden(t *testing.T, file string, lines []string) {
	t.Helper()
	got := strings.Join(lines, "\n") + "\n"
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	for i := range max(len(lines), len(want)) {
		var g, w string
		if i < len(lines) {
			g = lines[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Fatalf("%s:%d: got\n%s\nwant\n%s", file, i+1, g, w)
		}
	}
}
