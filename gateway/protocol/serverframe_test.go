package protocol

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/vmihailenco/msgpack/v5"
)

// testID is 00000000000000000000000001.
var testID = ID{15: 1}

const testIDText = "00000000000000000000000001"

func testMessage() Message {
	return Message{ID: testID, Conv: UserConv("alice"), From: "alice", Seq: 3, Time: 1795400000123, CID: []byte("c-1"), Body: []byte("\x81\xa4text\xa2hi")}
}

const testMessageText = `{"id":"` + testIDText + `","conv":"u:alice","from":"alice","seq":3,"time":1795400000123,"cid":"c-1","body":{"text":"hi"}}`

// payload is what both an OK and the args of a push can do.
type payload interface {
	Decode(Raw) error
}

func TestReplies(t *testing.T) {
	full := testMessage()
	full.TTL, full.Mentions = 60, []string{"bob"}
	tests := []struct {
		ok   OK
		json string
	}{
		{&LoginOK{"bob", 7, 5, 1, SessionLimits{12288, 65536, 256, 60000}},
			`{"user":"bob","session":7,"serverTime":5,"protocol":1,"limits":{"maxBody":12288,"maxFrame":65536,"window":256,"idleMs":60000}}`},
		{&RefreshOK{9}, `{"exp":9}`},
		{&PingOK{9}, `{"serverTime":9}`},
		{&SendOK{ID: testID, Seq: 3, Time: 9}, `{"id":"` + testIDText + `","seq":3,"time":9}`},
		{&SendOK{ID: testID, Time: 9, Duplicate: true}, `{"id":"` + testIDText + `","time":9,"duplicate":true}`},
		{&ReadReportOK{0}, `{"unread":0}`},
		{&PageOK{Messages: []Message{full}, From: 3, To: 5, Gaps: []Gap{{4, 5, "recalled"}}, More: true},
			`{"messages":[` + strings.TrimSuffix(testMessageText, "}") + `,"ttl":60,"mentions":["bob"]}],"from":3,"to":5,"gaps":[{"from":4,"to":5,"reason":"recalled"}],"more":true}`},
		{&PageOK{Messages: []Message{}, Gaps: []Gap{}}, `{"messages":[],"from":0,"to":0,"gaps":[],"more":false}`},
		{&ConversationsOK{Conversations: []Conversation{{Conv: GroupConv("g"), LastSeq: 3, Time: 4, ReadSeq: 2, Unread: 1, Cursor: "x", Muted: true, Last: new(testMessage())}}},
			`{"conversations":[{"conv":"g:g","lastSeq":3,"time":4,"readSeq":2,"unread":1,"cursor":"x","muted":true,"last":` + testMessageText + `}]}`},
		{&ConversationsOK{Conversations: []Conversation{}, More: true, After: "u5"}, `{"conversations":[],"more":true,"after":"u5"}`},
		{&PresenceOK{[]UserPresence{{"bob", true, 0}, {`"\`, false, 5}}},
			`{"presence":{"bob":{"online":true,"lastSeen":0},"\"\\":{"online":false,"lastSeen":5}}}`},
		{&PresenceOK{[]UserPresence{}}, `{"presence":{}}`},
		{&BlockedOK{[]string{"a", "b"}}, `{"users":["a","b"]}`},
		{&CreateGroupOK{Group: "g"}, `{"group":"g"}`},
		{&CreateGroupOK{"g", "x", []MemberFailure{{"b", CodeForbidden}}}, `{"group":"g","cursor":"x","failed":[{"user":"b","code":"forbidden"}]}`},
		{&JoinGroupOK{Pending: true}, `{"pending":true}`},
		{&JoinGroupOK{Cursor: "x"}, `{"cursor":"x"}`},
		{&SetGroupOK{}, `{}`},
		{&SetGroupOK{true}, `{"pending":true}`},
		{&BansOK{[]Ban{{"a", 7}, {"b", 8}}, true}, `{"bans":[{"user":"a","until":7},{"user":"b","until":8}],"more":true}`},
		{&BansOK{[]Ban{}, false}, `{"bans":[],"more":false}`},
		{&JoinGroupOK{}, `{}`},
		{&AddMembersOK{[]string{"a"}, []MemberFailure{{"b", CodeForbidden}}}, `{"added":["a"],"failed":[{"user":"b","code":"forbidden"}]}`},
		{&RemoveMembersOK{[]string{}, []MemberFailure{}}, `{"removed":[],"failed":[]}`},
		{&GroupOK{Group: "g", Kind: KindPublic, Name: "n", Owner: "o", MemberCount: 4, LastSeq: 9, Role: RoleAdmin, Properties: []byte{0x80}},
			`{"group":"g","kind":"public","name":"n","owner":"o","memberCount":4,"lastSeq":9,"role":"admin","properties":{}}`},
		{&GroupOK{"g", KindPublic, "n", "o", 4, 9, RoleAdmin, nil,
			&GroupSettings{2000, JoinApprove, HistorySinceJoin, true, true, true}, []JoinRequest{{"a", "hi", 7}, {"b", "", 8}}, "b"},
			`{"group":"g","kind":"public","name":"n","owner":"o","memberCount":4,"lastSeq":9,"role":"admin",` +
				`"settings":{"maxMembers":2000,"join":"approve","history":"sinceJoin","unread":true,"stored":true,"mutedAll":true},` +
				`"requests":[{"user":"a","message":"hi","time":7},{"user":"b","time":8}],"ownerOffered":"b"}`},
		{&GroupsOK{[]GroupOK{{Group: "g", Kind: KindLive}}, true}, `{"groups":[{"group":"g","kind":"live","name":"","owner":"","memberCount":0,"lastSeq":0}],"more":true}`},
		{&MembersOK{[]Member{{"a", RoleOwner, 0}, {"b", RoleMember, 77}}, true},
			`{"members":[{"user":"a","role":"owner"},{"user":"b","role":"member","mutedUntil":77}],"more":true}`},
	}
	for _, tt := range tests {
		want := `{"id":7,"ok":` + tt.json + `}`
		if got := string(AppendReplyOK(nil, JSON, 7, tt.ok)); got != want {
			t.Errorf("AppendReplyOK(%T) = %s, want %s", tt.ok, got, want)
		}
		for _, codec := range codecs {
			frame := AppendReplyOK([]byte("before"), codec, 7, tt.ok)[len("before"):]
			sameAsJSON(t, codec, frame, want)
			f, err := DecodeServerFrame(codec, frame)
			if err != nil || f.ID != 7 || f.Err != nil {
				t.Errorf("%s: DecodeServerFrame(%q) = %+v, %v", codec.Name(), frame, f, err)
				continue
			}
			wantPayload(t, codec, &f, tt.ok)
		}
	}
}

func TestPushes(t *testing.T) {
	ephemeral := testMessage()
	ephemeral.Seq, ephemeral.Ephemeral = 0, true
	tests := []struct {
		push payload
		op   string
		args string
	}{
		{&NewMessage{D: 1, Messages: []Message{testMessage(), testMessage()}, Cursor: "cur", GroupCursors: []GroupCursor{{"g", "c1"}, {`"`, "c2"}}, Skipped: 4}, OpOnNewMessage,
			`{"d":1,"messages":[` + testMessageText + `,` + testMessageText + `],"cursor":"cur","groupCursors":{"g":"c1","\"":"c2"},"skipped":4}`},
		{&NewMessage{D: 2, Messages: []Message{ephemeral}}, OpOnNewMessage,
			`{"d":2,"messages":[{"id":"` + testIDText + `","conv":"u:alice","from":"alice","time":1795400000123,"cid":"c-1","body":{"text":"hi"},"ephemeral":true}]}`},
		{&Synced{Lost: []Lost{}, Cursor: "c", Groups: []Conversation{}}, OpOnSynced, `{"offline":0,"lost":[],"cursor":"c","unreadTotal":0,"unreadUnmuted":0,"groups":[]}`},
		{&Synced{Offline: 2, Lost: []Lost{{UserConv("a"), 1, 4, 3}}, Cursor: "c", Reset: true, UnreadTotal: 5, UnreadUnmuted: 4,
			Conversations: []Conversation{{Conv: UserConv("a"), LastSeq: 9, Time: 8, ReadSeq: 7, PeerReadSeq: 6, Pinned: true, Marked: true}},
			Groups:        []Conversation{{Conv: GroupConv("g"), LastSeq: 1, Time: 2, Unread: 1, Cursor: "gc"}}}, OpOnSynced,
			`{"offline":2,"lost":[{"conv":"u:a","from":1,"to":4,"count":3}],"cursor":"c","reset":true,"unreadTotal":5,"unreadUnmuted":4,` +
				`"conversations":[{"conv":"u:a","lastSeq":9,"time":8,"readSeq":7,"peerReadSeq":6,"pinned":true,"markedUnread":true}],` +
				`"groups":[{"conv":"g:g","lastSeq":1,"time":2,"readSeq":0,"unread":1,"cursor":"gc"}]}`},
		{&Synced{Lost: []Lost{}, Cursor: "c", Conversations: []Conversation{}, Groups: []Conversation{}}, OpOnSynced,
			`{"offline":0,"lost":[],"cursor":"c","unreadTotal":0,"unreadUnmuted":0,"conversations":[],"groups":[]}`},
		{&Synced{Lost: []Lost{}, Cursor: "c", Users: []Conversation{{Conv: UserConv("a"), LastSeq: 1, Time: 2, Unread: 1}}, Groups: []Conversation{}}, OpOnSynced,
			`{"offline":0,"lost":[],"cursor":"c","unreadTotal":0,"unreadUnmuted":0,"users":[{"conv":"u:a","lastSeq":1,"time":2,"readSeq":0,"unread":1}],"groups":[]}`},
		{&Synced{Lost: []Lost{}, Cursor: "c", Reset: true, ResetGroups: []string{"g", `"`}, Groups: []Conversation{{Conv: GroupConv("g"), Time: 2, Uncounted: true}}}, OpOnSynced,
			`{"offline":0,"lost":[],"cursor":"c","reset":true,"resetGroups":["g","\""],"unreadTotal":0,"unreadUnmuted":0,"groups":[{"conv":"g:g","lastSeq":0,"time":2,"readSeq":0,"counts":false}]}`},
		{&ReadReport{UserConv("a"), 3}, OpOnReadReport, `{"conv":"u:a","seq":3}`},
		{&ReadReceipt{UserConv("a"), 3, 9}, OpOnReadReceipt, `{"conv":"u:a","seq":3,"time":9}`},
		{&Recall{UserConv("a"), []Range{{1, 2}, {5, 5}}, "a", ""}, OpOnRecall, `{"conv":"u:a","ranges":[[1,2],[5,5]],"by":"a"}`},
		{&Recall{GroupConv("g"), []Range{{1, 2}}, "admin", "bob"}, OpOnRecall, `{"conv":"g:g","ranges":[[1,2]],"by":"admin","sender":"bob"}`},
		{&ConversationDeleted{UserConv("a"), false, 7}, OpOnConversationDeleted, `{"conv":"u:a","messages":false,"upTo":7}`},
		{&ConversationChanged{UserConv("a"), true, false, true}, OpOnConversationChanged, `{"conv":"u:a","muted":true,"pinned":false,"unread":true}`},
		{&Blocked{"a", true}, OpOnBlocked, `{"user":"a","blocked":true}`},
		{&MessageDeleted{UserConv("a"), []uint64{1, 9}}, OpOnMessageDeleted, `{"conv":"u:a","seqs":[1,9]}`},
		{&GroupEvent{"g", EventJoined, "a", []string{"b"}, 9, "", false}, OpOnGroupEvent, `{"group":"g","event":"joined","by":"a","users":["b"],"time":9}`},
		{&GroupEvent{"g", EventJoined, "a", []string{"a"}, 9, "x", false}, OpOnGroupEvent, `{"group":"g","event":"joined","by":"a","users":["a"],"time":9,"cursor":"x"}`},
		{&GroupEvent{"g", EventChanged, "a", nil, 9, "", true}, OpOnGroupEvent, `{"group":"g","event":"changed","by":"a","time":9,"counts":false}`},
		{&Presence{"a", StatusOnline, 9}, OpOnPresence, `{"user":"a","status":"online","time":9}`},
		{&Typing{"a", UserConv("a"), 9}, OpOnTyping, `{"user":"a","conv":"u:a","time":9}`},
		{&Kicked{KickPolicy}, OpOnKicked, `{"reason":"policy"}`},
	}
	for _, tt := range tests {
		want := fmt.Sprintf(`{"op":%q,"args":%s}`, tt.op, tt.args)
		if got := string(appendPush(nil, JSON, tt.push)); got != want {
			t.Errorf("append of %T = %s, want %s", tt.push, got, want)
		}
		for _, codec := range codecs {
			frame := appendPush([]byte("before"), codec, tt.push)[len("before"):]
			sameAsJSON(t, codec, frame, want)
			f, err := DecodeServerFrame(codec, frame)
			if err != nil || f.ID != 0 || f.Op != tt.op {
				t.Errorf("%s: DecodeServerFrame(%q) = %+v, %v", codec.Name(), frame, f, err)
				continue
			}
			wantPayload(t, codec, &f, tt.push)
		}
	}
}

// TestSyncedInParts has more of each list than a frame holds.
func TestSyncedInParts(t *testing.T) {
	var all Synced
	for i := range 2000 {
		conv := Conversation{Conv: UserConv(strings.Repeat("n", 40) + strconv.Itoa(i)), LastSeq: 9, Time: 1 << 40}
		all.Lost = append(all.Lost, Lost{conv.Conv, 1, 9, 9})
		all.Conversations = append(all.Conversations, conv)
		conv.Unread = i
		all.Users = append(all.Users, conv)
		conv.Conv, conv.Cursor = GroupConv(conv.Conv.ID), strings.Repeat("c", 40)
		all.Groups = append(all.Groups, conv)
	}
	all.Cursor, all.UnreadTotal = "c", 5
	for _, codec := range codecs {
		for _, n := range []int{0, 1, 300, 2000} {
			want := all
			want.Lost, want.Conversations, want.Users, want.Groups = all.Lost[:n], all.Conversations[:n], all.Users[:n], all.Groups[:n]
			rest := want
			var got SyncedPart
			for frames := 1; ; frames++ {
				frame, last := AppendSyncedPart([]byte("before"), codec, &rest)
				frame = frame[len("before"):]
				if len(frame) > MaxFrame || !last && len(frame) < MaxFrame-1000 {
					t.Fatalf("%s: frame %d of %d entries has %d bytes", codec.Name(), frames, 4*n, len(frame))
				}
				f, err := DecodeServerFrame(codec, frame)
				if err != nil {
					t.Fatal(err)
				}
				if !last {
					var part SyncedPart
					if err := f.Decode(&part); err != nil || f.Op != OpOnConversations {
						t.Fatalf("%s: %s: %v", codec.Name(), f.Op, err)
					}
					got.Add(&part)
					continue
				}
				var end Synced
				if err := f.Decode(&end); err != nil || f.Op != OpOnSynced {
					t.Fatalf("%s: %s: %v", codec.Name(), f.Op, err)
				}
				got.Complete(&end)
				whole, err := DecodeServerFrame(codec, AppendSynced(nil, codec, &want))
				if err != nil {
					t.Fatal(err)
				}
				var unparted Synced
				if err := whole.Decode(&unparted); err != nil {
					t.Fatal(err)
				}
				if len(end.Lost) != n || fmt.Sprint(end) != fmt.Sprint(unparted) {
					t.Errorf("%s: %d entries of each list in %d parts differ from the whole", codec.Name(), n, frames)
				}
				break
			}
		}
	}
}

// TestConversationsEndAPage writes entries with large messages.
func TestConversationsEndAPage(t *testing.T) {
	entry := Conversation{Conv: UserConv("a"), LastSeq: 1, Time: 2, Last: new(testMessage())}
	entry.Last.Body = append([]byte{0xda, 11 << 2, 0}, strings.Repeat("\x01", 11<<10)...)
	for _, codec := range codecs {
		w := BeginConversations(nil, codec, 7)
		for w.Add(&entry) {
		}
		n := w.Len()
		frame := w.End(true, strings.Repeat("x", MaxAfterLen))
		one := BeginConversations(nil, codec, 7)
		one.Add(&entry)
		if size := len(one.End(false, "")); len(frame) > MaxPage || len(frame) < MaxPage-size-100 {
			t.Errorf("%s: a page of %d bytes with entries of %d", codec.Name(), len(frame), size)
		}
		f, err := DecodeServerFrame(codec, frame)
		if err != nil {
			t.Fatal(err)
		}
		var ok ConversationsOK
		if err := f.Decode(&ok); err != nil || len(ok.Conversations) != n || !ok.More || len(ok.After) != MaxAfterLen {
			t.Errorf("%s: %d entries of %d, more %v, %v", codec.Name(), len(ok.Conversations), n, ok.More, err)
		}
	}
}

func appendPush(dst []byte, codec Codec, p payload) []byte {
	switch p := p.(type) {
	case *NewMessage:
		return AppendNewMessage(dst, codec, p)
	case *Synced:
		return AppendSynced(dst, codec, p)
	case *SyncedPart:
		x, m := walkPush(dst, codec, OpOnConversations)
		p.fields(&x)
		return x.e.endFrame(m)
	case *ConversationChanged:
		return AppendConversationChanged(dst, codec, p)
	case *Blocked:
		return AppendBlocked(dst, codec, p)
	case *ReadReport:
		return AppendReadReport(dst, codec, p)
	case *ReadReceipt:
		return AppendReadReceipt(dst, codec, p)
	case *Recall:
		return AppendRecall(dst, codec, p)
	case *ConversationDeleted:
		return AppendConversationDeleted(dst, codec, p)
	case *MessageDeleted:
		return AppendMessageDeleted(dst, codec, p)
	case *GroupEvent:
		return AppendGroupEvent(dst, codec, p)
	case *Presence:
		return AppendPresence(dst, codec, p)
	case *Typing:
		return AppendTyping(dst, codec, p)
	case *Kicked:
		return AppendKicked(dst, codec, p)
	}
	panic(fmt.Sprintf("no push: %T", p))
}

// sameAsJSON checks with the libraries that clients use that frame holds what
// text holds.
func sameAsJSON(t *testing.T, codec Codec, frame []byte, text string) {
	t.Helper()
	if codec == JSON {
		return // compared as text
	}
	var got, want any
	if err := msgpack.Unmarshal(frame, &got); err != nil {
		t.Errorf("the msgpack library refuses %x: %v", frame, err)
		return
	}
	if err := msgpack.Unmarshal(msgpackOf(t, text), &want); err != nil {
		t.Fatal(err)
	}
	if got, want := plain(got), plain(want); !reflect.DeepEqual(got, want) {
		t.Errorf("msgpack frame holds %v, JSON frame %v", got, want)
	}
}

// plain makes all integers int64.
func plain(v any) any {
	switch rv := reflect.ValueOf(v); rv.Kind() {
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return rv.Int()
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return int64(rv.Uint())
	}
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = plain(v[k])
		}
	}
	return v
}

// wantPayload decodes what f carries and compares.
func wantPayload(t *testing.T, codec Codec, f *ServerFrame, want any) {
	t.Helper()
	got := reflect.New(reflect.TypeOf(want).Elem()).Interface()
	if err := f.Decode(got.(payload)); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%s: Decode = %+v, %v, want %+v", codec.Name(), got, err, want)
	}
}

func TestReplyErr(t *testing.T) {
	got := string(AppendReplyErr(nil, JSON, 7, CodeUnavailable, "wait \"a\xff bit\"", 250))
	if want := `{"id":7,"err":{"code":"unavailable","message":"wait \"a` + "\ufffd" + ` bit\"","retryAfterMs":250}}`; got != want {
		t.Errorf("AppendReplyErr = %s, want %s", got, want)
	}
	for _, codec := range codecs {
		f, err := DecodeServerFrame(codec, AppendReplyErr(nil, codec, 7, CodeConflict, "cid \xff is taken", 0))
		if want := (ReplyError{CodeConflict, "cid \ufffd is taken", 0}); err != nil || f.ID != 7 || f.Err == nil || *f.Err != want {
			t.Errorf("%s: DecodeServerFrame = %+v, %v, want %v", codec.Name(), f, err, want)
		}
	}
}

func TestReplyWithoutOKIsEmpty(t *testing.T) {
	if got, want := string(AppendReplyOK(nil, JSON, 1, nil)), `{"id":1,"ok":{}}`; got != want {
		t.Errorf("AppendReplyOK = %s, want %s", got, want)
	}
}

// malformedServerJSON are no frames of a server.
var malformedServerJSON = []struct{ name, json string }{
	{"object", `[]`},
	{"neither id nor op", `{}`},
	{"id/fraction", `{"id":1.5,"ok":{}}`},
	{"neither ok nor err", `{"id":1}`},
	{"both ok and err", `{"id":1,"ok":{},"err":{"code":"x"}}`},
	{"err without id", `{"op":"x","err":{"code":"x"}}`},
	{"err/no code", `{"id":1,"err":{}}`},
	{"err/no object", `{"id":1,"err":"x"}`},
	{"op/number", `{"op":1}`},
	{"cut", `{"id":1,"ok":{}`},
	{"trailing", `{"id":1,"ok":{}}1`},
}

func TestDecodeServerFrameRefusesMalformed(t *testing.T) {
	for _, tt := range malformedServerJSON {
		f, err := DecodeServerFrame(JSON, []byte(tt.json))
		if _, ok := errors.AsType[*MalformedError](err); !ok {
			t.Errorf("%s: DecodeServerFrame(%s) = %+v, %v, want malformed", tt.name, tt.json, f, err)
		}
	}
}

func TestPayloadsRefuse(t *testing.T) {
	tests := []struct {
		into        payload
		text, field string
	}{
		{&LoginOK{}, `{"session":1}`, "user"},
		{&LoginOK{}, `{"user":"a"}`, "session"},
		{&LoginOK{}, `{"user":"a","session":1,"limits":[]}`, "limits"},
		{&SendOK{}, `{"seq":1}`, "id"},
		{&SendOK{}, `{"id":"x"}`, "id"},
		{&NewMessage{}, `{"messages":[]}`, "d"},
		{&NewMessage{}, `{"d":1,"messages":[{}]}`, "messages"},
		{&NewMessage{}, `{"d":1,"messages":[` + strings.Repeat(testMessageText+",", 100) + testMessageText + `]}`, "messages"},
		{&NewMessage{}, `{"d":1,"groupCursors":{"a b":"cursor"}}`, "groupCursors"},
		{&PageOK{}, `{"gaps":[{"from":2,"to":1,"reason":"x"}]}`, "gaps"},
		{&PageOK{}, `{"gaps":[1,2,3,4,5,6,7,8]}`, "gaps"},
		{&PresenceOK{}, `{"presence":{"a b":{"online":true,"lastSeen":0}}}`, "presence"},
		{&Recall{}, `{"conv":"u:a","ranges":[[2,1]]}`, "ranges"},
		{&MessageDeleted{}, `{"seqs":[1]}`, "conv"},
		{&Synced{}, `{"lost":[{"from":1,"to":2,"count":1,"conversation":"u:a"}]}`, "lost"},
		{&Synced{}, `{"conversations":{}}`, "conversations"},
	}
	for _, tt := range tests {
		for _, codec := range codecs {
			err := tt.into.Decode(Raw{codec, encoded(t, codec, tt.text)})
			if got, ok := errors.AsType[*FieldError](err); !ok || got.Field != tt.field {
				t.Errorf("%s: Decode(%T %.60s) = %v, want an error of %s", codec.Name(), tt.into, tt.text, err, tt.field)
			}
		}
	}
}

func TestNewMessageWriterKeepsToTheFrame(t *testing.T) {
	big := testMessage()
	big.Body, _ = EncodeBody(strings.Repeat("x", 12<<10-3))
	huge := testMessage()
	huge.Body, _ = EncodeBody(strings.Repeat("\x01", 12<<10-3)) // six bytes each in JSON
	const cursor = "a cursor"
	for _, codec := range codecs {
		w := BeginNewMessage([]byte("before"), codec, 9)
		n := 0
		for w.Add(&big, 100) {
			n++
		}
		frame := w.End(cursor, []GroupCursor{{"g", "c"}}, 3)[len("before"):]
		f, err := DecodeServerFrame(codec, frame)
		var got NewMessage
		if err == nil {
			err = f.Decode(&got)
		}
		if err != nil || n != 5 || w.Len() != 5 || len(got.Messages) != 5 || got.Cursor != cursor || got.Skipped != 3 || len(frame) > MaxFrame {
			t.Errorf("%s: %d messages in %d bytes, decoded %d with cursor %q, %v; want 5", codec.Name(), n, len(frame), len(got.Messages), got.Cursor, err)
		}

		small := testMessage()
		w = BeginNewMessage(nil, codec, 9)
		for n = 0; w.Add(&small, 100); {
			n++
		}
		if f, err = DecodeServerFrame(codec, w.End(cursor, nil, 0)); err == nil {
			err = f.Decode(&got)
		}
		if err != nil || n != MaxMessages || len(got.Messages) != MaxMessages {
			t.Errorf("%s: %d small messages, decoded %d, %v; want %d", codec.Name(), n, len(got.Messages), err, MaxMessages)
		}

		w = BeginNewMessage(nil, codec, 9)
		if !w.Add(&huge, 100) {
			t.Errorf("%s: a message that fills the frame alone was not taken", codec.Name())
		}
	}
}

func TestNewMessageWriterFillsTheFrameToTheByte(t *testing.T) {
	for _, codec := range codecs {
		body := func(n int) Message {
			m := testMessage()
			m.Body, _ = EncodeBody(strings.Repeat("x", n))
			return m
		}
		size := func(n int) int {
			w := BeginNewMessage(nil, codec, 9)
			first, second := body(60000), body(n)
			w.Add(&first, 0)
			w.Add(&second, 0)
			return len(w.End("", nil, 0))
		}
		for n := 4000; ; n++ {
			if got := size(n); got > MaxFrame {
				t.Fatalf("%s: a frame of %d bytes", codec.Name(), got)
			} else if got < 62000 { // the second one was left out
				if last := size(n - 1); last < MaxFrame-8 {
					t.Errorf("%s: the fullest frame has %d bytes, want nearly %d", codec.Name(), last, MaxFrame)
				}
				break
			}
		}
	}
}

func TestBodyJSONOfOtherBytesIsJSONStill(t *testing.T) {
	for _, body := range []string{"", "c1", "92 01", "91 c1", "81 01 01", "cb7ff8000000000000", "a1ff", "d40101", strings.Repeat("91", 40), "82a16101"} {
		got := AppendBodyJSON(nil, unhex(t, body))
		if skipJSON(got, 0) != len(got) {
			t.Errorf("AppendBodyJSON(%s) = %s, which is no JSON", body, got)
		}
	}
}

func TestCodecNames(t *testing.T) {
	for _, name := range []string{SubprotocolJSON, SubprotocolMsgpack} {
		c, ok := CodecFor(name)
		if !ok || c.Subprotocol() != name || c.Binary() != (c == Msgpack) || !strings.HasSuffix(name, c.Name()) {
			t.Errorf("CodecFor(%q) = %v, %v", name, c, ok)
		}
	}
	if c, ok := CodecFor(""); !ok || c != JSON {
		t.Errorf("CodecFor of none = %v, %v, want JSON", c, ok)
	}
	if _, ok := CodecFor("belfry.v2.json"); ok {
		t.Error("CodecFor(belfry.v2.json) is known")
	}
}

func TestMessageBody(t *testing.T) {
	m := testMessage()
	m.Body, _ = EncodeBody(map[string]any{"n": uint64(maxBodyInt), "m": int64(math.MinInt64)})
	v, err := m.BodyValue()
	if want := map[string]any{"n": uint64(maxBodyInt), "m": int64(math.MinInt64)}; err != nil || !reflect.DeepEqual(v, any(want)) {
		t.Errorf("BodyValue = %v, %v, want %v", v, err, want)
	}
	var into struct{ N uint64 }
	if err := m.DecodeBody(&into); err != nil || into.N != maxBodyInt {
		t.Errorf("DecodeBody = %v, %v", into, err)
	}
	if _, err := BodyValue([]byte{0x91}); err == nil {
		t.Error("BodyValue of a cut body = nil, want an error")
	}
}

// TestUnknownGroupCursors leaves out cursors of groups whose shard does not serve.
func TestUnknownGroupCursors(t *testing.T) {
	for _, codec := range codecs {
		for _, groups := range [][]GroupCursor{
			{{Group: "g1"}, {Group: "g2", Cursor: "c2"}, {Group: "g3"}},
			{{Group: "g1"}},
		} {
			frame := appendPush(nil, codec, &NewMessage{D: 1, Messages: []Message{testMessage()}, GroupCursors: groups})
			f, err := DecodeServerFrame(codec, frame)
			if err != nil {
				t.Fatal(err)
			}
			var got NewMessage
			if err := f.Decode(&got); err != nil {
				t.Fatalf("%s: %v", codec.Name(), err)
			}
			var want []GroupCursor
			for _, g := range groups {
				if g.Cursor != "" {
					want = append(want, g)
				}
			}
			if !slices.Equal(got.GroupCursors, want) {
				t.Errorf("%s: groupCursors = %v, want %v", codec.Name(), got.GroupCursors, want)
			}
		}
	}
}
