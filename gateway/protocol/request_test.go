package protocol

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

func TestDecodeRequest(t *testing.T) {
	tests := []struct {
		json string
		id   uint64
		op   string
		args string
	}{
		{`{"id":7,"op":"send","args":{"a":1}}`, 7, "send", `{"a":1}`},
		{` { "op" : "ack" , "args" : null } `, 0, "ack", `null`},
		{`{"op":"ping","id":9007199254740991}`, 9007199254740991, "ping", ``},
		{`{"\u006fp":"p\u0069ng","extra":[{"a":[[]]},"\ud800"],"args":5}`, 0, "ping", `5`},
		{`{"op":"a new one","id":1}`, 1, "a new one", ``},
		{`{"op":"","id":1}`, 1, "", ``},
	}
	for _, tt := range tests {
		r, err := DecodeRequest(JSON, []byte(tt.json))
		if err != nil || r.ID != tt.id || r.Op != tt.op || string(r.Args.data) != tt.args && string(r.Args.data) != " "+tt.args {
			t.Errorf("DecodeRequest(%s) = %d %q %s, %v", tt.json, r.ID, r.Op, r.Args.data, err)
		}
	}
	// Keys of other types are unknown keys.
	r, err := DecodeRequest(Msgpack, unhex(t, "84 01 02 c0 90 a26964 cf0000000000000007 a26f70 a470696e67"))
	if err != nil || r.ID != 7 || r.Op != OpPing {
		t.Errorf("DecodeRequest = %+v, %v", r, err)
	}
}

// Why a frame is malformed.
const noObject, noOp, noText, noID, broken, more = "it is no object", "it has no op", "its op is no text",
	"its id is no integer from 1 to 2^53-1", "it ends early or breaks the grammar of ", "something follows its end"

// malformedJSON are no frames of a client.
var malformedJSON = []struct{ name, json, want string }{
	{"object/empty", ``, noObject},
	{"object/space", ` `, noObject},
	{"object/array", `[]`, noObject},
	{"object/text", `"x"`, noObject},
	{"object/null", `null`, noObject},
	{"object/byte order mark", "\ufeff{}", noObject},
	{"op/absent", `{"id":1}`, noOp},
	{"op/empty object", `{}`, noOp},
	{"op/number", `{"id":1,"op":5}`, noText},
	{"op/null", `{"id":1,"op":null}`, noText},
	{"op/array", `{"op":["ping"]}`, noText},
	{"op/invalid UTF-8", "{\"op\":\"\xff\"}", noText},
	{"op/lone surrogate", `{"op":"\ud800"}`, noText},
	{"id/zero", `{"id":0,"op":"ping"}`, noID},
	{"id/negative", `{"id":-1,"op":"ping"}`, noID},
	{"id/fraction", `{"id":1.0,"op":"ping"}`, noID},
	{"id/exponent", `{"id":1e0,"op":"ping"}`, noID},
	{"id/text", `{"id":"1","op":"ping"}`, noID},
	{"id/null", `{"id":null,"op":"ping"}`, noID},
	{"id/true", `{"id":true,"op":"ping"}`, noID},
	{"id/2^53", `{"id":9007199254740992,"op":"ping"}`, noID},
	{"id/beyond 2^64", `{"id":18446744073709551617,"op":"ping"}`, noID},
	{"grammar/cut", `{"op":"ping"`, broken + "json"},
	{"grammar/cut in args", `{"op":"ping","args":{"a":[1,2}`, broken + "json"},
	{"grammar/trailing comma", `{"op":"ping",}`, broken + "json"},
	{"grammar/leading zero", `{"op":"ping","args":{"a":01}}`, broken + "json"},
	{"grammar/comment", `{"op":"ping"/**/}`, broken + "json"},
	{"grammar/single quotes", `{'op':'ping'}`, broken + "json"},
	{"grammar/brackets crossed", `{"op":"ping","args":[{]}}`, broken + "json"},
	{"trailing/brace", `{"op":"ping"}}`, more},
	{"trailing/frame", `{"op":"ping"}{"op":"ping"}`, more},
	{"trailing/zero", "{\"op\":\"ping\"}\x00", more},
}

// malformedMsgpack are no frames of a client.
var malformedMsgpack = []struct{ name, hex, want string }{
	{"object/empty", "", noObject},
	{"object/array", "90", noObject},
	{"object/nil", "c0", noObject},
	{"object/ext", "d40101", noObject},
	{"object/count beyond input", "df ffffffff", noObject},
	{"op/absent", "81 a26964 01", noOp},
	{"op/bin", "81 a26f70 c40470696e67", noText},
	{"op/nil", "81 a26f70 c0", noText},
	{"op/invalid UTF-8", "81 a26f70 a1ff", noText},
	{"id/zero", "82 a26964 00 a26f70 a470696e67", noID},
	{"id/negative", "82 a26964 ff a26f70 a470696e67", noID},
	{"id/float", "82 a26964 cb3ff0000000000000 a26f70 a470696e67", noID},
	{"id/text", "82 a26964 a131 a26f70 a470696e67", noID},
	{"id/nil", "82 a26964 c0 a26f70 a470696e67", noID},
	{"id/2^53", "82 a26964 cf0020000000000000 a26f70 a470696e67", noID},
	{"grammar/cut", "82 a26f70 a470696e67 a161", broken + "msgpack"},
	{"grammar/cut in args", "82 a26f70 a470696e67 a461726773 92 93 01", broken + "msgpack"},
	{"grammar/never used", "82 a26f70 a470696e67 a461726773 c1", broken + "msgpack"},
	{"trailing/byte", "81 a26f70 a470696e67 00", more},
}

func TestDecodeRequestRefusesMalformed(t *testing.T) {
	for _, tt := range malformedJSON {
		t.Run("json/"+tt.name, func(t *testing.T) { wantMalformed(t, JSON, []byte(tt.json), tt.want) })
	}
	for _, tt := range malformedMsgpack {
		t.Run("msgpack/"+tt.name, func(t *testing.T) { wantMalformed(t, Msgpack, unhex(t, tt.hex), tt.want) })
	}
}

func wantMalformed(t *testing.T, codec Codec, frame []byte, want string) {
	t.Helper()
	r, err := DecodeRequest(codec, frame)
	if m, ok := errors.AsType[*MalformedError](err); !ok || m.Reason != want {
		t.Errorf("DecodeRequest(%q) = %+v, %v, want malformed: %s", frame, r, err, want)
	}
}

func TestDecodeRequestTakesAnyDepth(t *testing.T) {
	for _, depth := range []int{63, 64, 65, 129, 30000} {
		frame := `{"op":"ping","args":{"x":` + strings.Repeat(`[`, depth) + strings.Repeat(`]`, depth) + `}}`
		r, err := DecodeRequest(JSON, []byte(frame))
		if err != nil {
			t.Fatalf("DecodeRequest of %d levels = %v", depth, err)
		}
		if err := new(NoArgs).Decode(r.Args); err != nil {
			t.Errorf("Decode of %d levels = %v", depth, err)
		}
	}
}

// argsFor is the struct that the args of op are read into.
func argsFor(op string) payload {
	for _, o := range Ops {
		if o.Name != op {
			continue
		}
		args := o.Args()
		if _, ok := args.(*SendArgs); ok {
			return new(sendArgs)
		}
		return args.(payload)
	}
	return new(NoArgs)
}

// sendArgs are SendArgs with the default limit.
type sendArgs struct{ SendArgs }

func (a *sendArgs) Decode(args Raw) error { return a.SendArgs.Decode(args, DefaultMaxBody) }

func TestArgsRefuse(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	list := func(n int, elem string) string {
		return "[" + strings.TrimSuffix(strings.Repeat(elem+",", n), ",") + "]"
	}
	const missing, notInt = "is missing", "must be an integer from 1 to 9007199254740991"
	var groups []string
	for n := range MaxLoginGroups + 1 {
		groups = append(groups, fmt.Sprintf(`"g%d":"c"`, n))
	}
	tests := []struct{ op, args, field, rule string }{
		{OpLogin, `[]`, "args", "must be an object"},
		{OpLogin, `"x"`, "args", "must be an object"},
		{OpLogin, `null`, "token", missing},
		{OpLogin, `{"device":"d"}`, "token", missing},
		{OpLogin, `{"token":5,"device":"d"}`, "token", "must be text"},
		{OpLogin, `{"token":"t"}`, "device", missing},
		{OpLogin, `{"token":"t","device":null}`, "device", missing},
		{OpLogin, `{"token":"t","device":""}`, "device", "must be text of 1-64 bytes"},
		{OpLogin, `{"token":"t","device":"` + long(65) + `"}`, "device", "must be text of 1-64 bytes"},
		{OpLogin, `{"token":"t","device":"d","platform":"` + long(65) + `"}`, "platform", "must be text of 0-64 bytes"},
		{OpLogin, `{"token":"t","device":"d","since":5}`, "since", "must be text"},
		{OpLogin, `{"token":"t","device":"d","groups":[]}`, "groups", "must be an object"},
		{OpLogin, `{"token":"t","device":"d","groups":{"a b":"c"}}`, "groups", "must have keys that are groups: each " + GroupRule},
		{OpLogin, `{"token":"t","device":"d","groups":{"g":5}}`, "groups", "must be text"},
		{OpLogin, `{"token":"t","device":"d","groups":{` + strings.Join(groups, ",") + `}}`, "groups", "must have at most 200 groups"},
		{OpLogin, `{"token":"t","device":"d","autoRead":1}`, "autoRead", "must be true or false"},
		{OpLogin, `{"token":"t","device":"d","autoRead":"false"}`, "autoRead", "must be true or false"},
		{OpLogin, `{"token":"t","device":"d","recents":"loud"}`, "recents", "must be on, quiet or off"},
		{OpLogin, `{"token":"t","device":"d","recents":false}`, "recents", "must be on, quiet or off"},
		{OpLogin, `{"token":"t","device":"d","groupBacklog":101}`, "groupBacklog", "must be an integer from 0 to 100"},
		{OpLogin, `{"token":"t","device":"d","groupBacklog":-1}`, "groupBacklog", "must be an integer from 0 to 100"},
		{OpAck, `{}`, "d", missing},
		{OpAck, `{"d":0}`, "d", notInt},
		{OpAck, `{"d":1.5}`, "d", notInt},
		{OpAck, `{"d":"1"}`, "d", notInt},
		{OpRefreshToken, `{}`, "token", missing},
		{OpRefreshToken, `{"token":[]}`, "token", "must be text"},
		{OpSetState, `{}`, "background", missing},
		{OpSetState, `{"background":"yes"}`, "background", "must be true or false"},
		{OpPing, `[]`, "args", "must be an object"},

		{OpSend, `{"cid":"c","body":1}`, "conv", missing},
		{OpSend, `{"conv":"bob","cid":"c","body":1}`, "conv", convRule},
		{OpSend, `{"conv":"u:","cid":"c","body":1}`, "conv", convRule},
		{OpSend, `{"conv":"x:bob","cid":"c","body":1}`, "conv", convRule},
		{OpSend, `{"conv":"u:a b","cid":"c","body":1}`, "conv", convRule},
		{OpSend, `{"conv":"u:böb","cid":"c","body":1}`, "conv", convRule},
		{OpSend, `{"conv":"u:` + long(65) + `","cid":"c","body":1}`, "conv", convRule},
		{OpSend, `{"conv":"g:` + long(49) + `","cid":"c","body":1}`, "conv", convRule},
		{OpSend, `{"conv":5,"cid":"c","body":1}`, "conv", convRule},
		{OpSend, `{"conv":"u:bob","body":1}`, "cid", missing},
		{OpSend, `{"conv":"u:bob","cid":"","body":1}`, "cid", "must be text of 1-64 bytes"},
		{OpSend, `{"conv":"u:bob","cid":"` + long(65) + `","body":1}`, "cid", "must be text of 1-64 bytes"},
		{OpSend, `{"conv":"u:bob","cid":7,"body":1}`, "cid", "must be text"},
		{OpSend, `{"conv":"u:bob","cid":"c"}`, "body", missing},
		{OpSend, `{"conv":"u:bob","cid":"c","body":` + strings.Repeat("[", 33) + strings.Repeat("]", 33) + `}`, "body", errBodyDepth.Rule},
		{OpSend, `{"conv":"u:bob","cid":"c","body":1,"ttl":604801}`, "ttl", "must be an integer from 0 to 604800"},
		{OpSend, `{"conv":"u:bob","cid":"c","body":1,"ttl":-1}`, "ttl", "must be an integer from 0 to 604800"},
		{OpSend, `{"conv":"u:bob","cid":"c","body":1,"ttl":0.5}`, "ttl", "must be an integer from 0 to 604800"},
		{OpSend, `{"conv":"u:bob","cid":"c","body":1,"retry":"true"}`, "retry", "must be true or false"},
		{OpSend, `{"conv":"u:bob","cid":"c","body":1,"mentions":"bob"}`, "mentions", "must be a list"},
		{OpSend, `{"conv":"u:bob","cid":"c","body":1,"mentions":["a",""]}`, "mentions", UserRule},
		{OpSend, `{"conv":"u:bob","cid":"c","body":1,"mentions":` + list(101, `"a"`) + `}`, "mentions", "must have 0-100 elements"},
		{OpGetMessage, `{}`, "conv", missing},
		{OpGetMessage, `{"conv":"u:bob","before":0}`, "before", notInt},
		{OpGetConversations, `{"limit":0}`, "limit", "must be an integer from 1 to 100"},
		{OpGetConversations, `{"limit":101}`, "limit", "must be an integer from 1 to 100"},
		{OpGetConversations, `{"after":1}`, "after", "must be text"},
		{OpGetMessage, `{"conv":"u:bob","after":-1}`, "after", "must be an integer from 0 to 9007199254740991"},
		{OpGetMessage, `{"conv":"u:bob","range":[1]}`, "range", "must be [from, to] with 1 <= from <= to"},
		{OpGetMessage, `{"conv":"u:bob","range":[1,2,3]}`, "range", "must be [from, to] with 1 <= from <= to"},
		{OpGetMessage, `{"conv":"u:bob","range":[3,2]}`, "range", "must be [from, to] with 1 <= from <= to"},
		{OpGetMessage, `{"conv":"u:bob","range":[0,2]}`, "range", notInt},
		{OpGetMessage, `{"conv":"u:bob","range":{"from":1}}`, "range", "must be a list"},
		{OpGetMessage, `{"conv":"u:bob","before":5,"after":1}`, "before", "must come alone: only one of before, after and range"},
		{OpGetMessage, `{"conv":"u:bob","after":0,"range":[1,2]}`, "before", "must come alone: only one of before, after and range"},
		{OpGetMessage, `{"conv":"u:bob","limit":0}`, "limit", "must be an integer from 1 to 100"},
		{OpGetMessage, `{"conv":"u:bob","limit":101}`, "limit", "must be an integer from 1 to 100"},
		{OpReadReport, `{"seq":1}`, "conv", missing},
		{OpReadReport, `{"conv":"u:bob"}`, "seq", missing},
		{OpReadReport, `{"conv":"u:bob","seq":0}`, "seq", notInt},
		{OpReadReport, `{"conv":"u:bob","seq":9007199254740992}`, "seq", notInt},
		{OpRecall, `{"conv":"u:bob","seq":"1"}`, "seq", notInt},
		{OpDeleteMessage, `{"conv":"u:bob"}`, "seqs", missing},
		{OpDeleteMessage, `{"conv":"u:bob","seqs":[]}`, "seqs", "must have 1-100 elements"},
		{OpDeleteMessage, `{"conv":"u:bob","seqs":` + list(101, "1") + `}`, "seqs", "must have 1-100 elements"},
		{OpDeleteMessage, `{"conv":"u:bob","seqs":[1,0]}`, "seqs", notInt},
		{OpDeleteMessage, `{"conv":"u:bob","seqs":5}`, "seqs", "must be a list"},
		{OpDeleteConversation, `{"conv":"u:bob","messages":1}`, "messages", "must be true or false"},
		{OpSetConversation, `{"muted":true}`, "conv", missing},
		{OpSetConversation, `{"conv":"u:bob","pinned":"x"}`, "pinned", "must be true or false"},
		{OpTyping, `{}`, "conv", missing},
		{OpGetPresence, `{}`, "users", missing},
		{OpGetPresence, `{"users":[]}`, "users", "must have 1-100 elements"},
		{OpSubscribePresence, `{"users":` + list(101, `"a"`) + `}`, "users", "must have 1-100 elements"},
		{OpSubscribePresence, `{"users":["a b"]}`, "users", UserRule},
		{OpBlock, `{}`, "user", missing},
		{OpUnblock, `{"user":"` + long(65) + `"}`, "user", UserRule},

		{OpCreateGroup, `{}`, "kind", missing},
		{OpCreateGroup, `{"kind":"secret"}`, "kind", "must be private, public, chatroom or live"},
		{OpCreateGroup, `{"kind":"live","group":""}`, "group", GroupRule},
		{OpCreateGroup, `{"kind":"live","group":"` + long(49) + `"}`, "group", GroupRule},
		{OpCreateGroup, `{"kind":"live","name":"` + long(257) + `"}`, "name", "must be text of 0-256 bytes"},
		{OpCreateGroup, `{"kind":"live","members":` + list(501, `"a"`) + `}`, "members", "must have 0-500 elements"},
		{OpCreateGroup, `{"kind":"live","properties":[]}`, "properties", "must be an object"},
		{OpCreateGroup, `{"kind":"live","properties":{"x":{"y":` + strings.Repeat("[", 31) + strings.Repeat("]", 31) + `}}}`, "properties", errBodyDepth.Rule},
		{OpCreateGroup, `{"kind":"live","maxMembers":0}`, "maxMembers", "must be an integer from 1 to 10000"},
		{OpCreateGroup, `{"kind":"live","join":"closed"}`, "join", "must be invite, approve or open"},
		{OpCreateGroup, `{"kind":"live","history":"some"}`, "history", "must be sinceJoin, all or none"},
		{OpCreateGroup, `{"kind":"live","unread":1}`, "unread", "must be true or false"},
		{OpJoinGroup, `{}`, "group", missing},
		{OpJoinGroup, `{"group":"g","message":"` + long(257) + `"}`, "message", "must be text of 0-256 bytes"},
		{OpAnswerJoin, `{"group":"g","user":"u"}`, "accept", missing},
		{OpAnswerJoin, `{"group":"g","accept":true}`, "user", missing},
		{OpAddMembers, `{"users":["a"]}`, "group", missing},
		{OpAddMembers, `{"group":"g"}`, "users", missing},
		{OpSetMember, `{"group":"g","user":"u","role":"owner"}`, "role", "must be admin or member"},
		{OpSetMember, `{"group":"g","user":"u","mutedUntil":-1}`, "mutedUntil", "must be an integer from 0 to 9007199254740991"},
		{OpSetGroup, `{"group":"g","owner":""}`, "owner", UserRule},
		{OpAnswerOwner, `{"accept":true}`, "group", "is missing"},
		{OpAnswerOwner, `{"group":"g"}`, "accept", "is missing"},
		{OpUnban, `{"group":"g"}`, "user", "is missing"},
		{OpUnban, `{"user":"a"}`, "group", "is missing"},
		{OpRemoveMembers, `{"group":"g","users":["a"],"ban":0}`, "ban", "must be an integer from 1 to 315360000"},
		{OpRemoveMembers, `{"group":"g","users":["a"],"ban":315360001}`, "ban", "must be an integer from 1 to 315360000"},
		{OpSetGroup, `{"group":"g","kind":"live"}`, "kind", "cannot be changed"},
		{OpSetGroup, `{"group":"g","stored":true}`, "stored", "cannot be changed"},
		{OpSetGroup, `{"group":"g","members":[]}`, "members", "change with addMembers and removeMembers"},
		{OpSetGroup, `{"group":"g","settings":{"join":"open"}}`, "settings", settingsRule},
		{OpSetGroup, `{"group":"g","maxMembers":0}`, "maxMembers", "must be an integer from 1 to 10000"},
		{OpSetGroup, `{"group":"g","join":"closed"}`, "join", "must be invite, approve or open"},
		{OpSetGroup, `{"group":"g","history":1}`, "history", "must be sinceJoin, all or none"},
		{OpSetGroup, `{"group":"g","mutedAll":1}`, "mutedAll", "must be true or false"},
		{OpCreateGroup, `{"kind":"live","settings":{}}`, "settings", settingsRule},
		{OpCreateGroup, `{"kind":"live","owner":"a"}`, "owner", "cannot be set: who makes the group owns it"},
		{OpGetMembers, `{"group":"g","limit":101}`, "limit", "must be an integer from 1 to 100"},
		{OpGetMembers, `{"group":"g","after":5}`, "after", UserRule},

		// What means a folder to URLs is no name.
		{OpLogin, `{"token":"t","device":"d","groups":{"..":"c"}}`, "groups", "must have keys that are groups: each " + GroupRule},
		{OpSend, `{"conv":"u:.","cid":"c","body":1}`, "conv", convRule},
		{OpSend, `{"conv":"g:..","cid":"c","body":1}`, "conv", convRule},
		{OpSend, `{"conv":"u:bob","cid":"c","body":1,"mentions":["a",".."]}`, "mentions", UserRule},
		{OpGetMessage, `{"conv":"u:.."}`, "conv", convRule},
		{OpReadReport, `{"conv":"g:.","seq":1}`, "conv", convRule},
		{OpGetPresence, `{"users":["."]}`, "users", UserRule},
		{OpBlock, `{"user":"."}`, "user", UserRule},
		{OpUnblock, `{"user":".."}`, "user", UserRule},
		{OpCreateGroup, `{"kind":"live","group":".."}`, "group", GroupRule},
		{OpCreateGroup, `{"kind":"live","members":["."]}`, "members", UserRule},
		{OpJoinGroup, `{"group":"."}`, "group", GroupRule},
		{OpAnswerJoin, `{"group":"g","user":".","accept":true}`, "user", UserRule},
		{OpAddMembers, `{"group":"g","users":[".."]}`, "users", UserRule},
		{OpSetMember, `{"group":"g","user":".","role":"admin"}`, "user", UserRule},
		{OpSetGroup, `{"group":"g","owner":".."}`, "owner", UserRule},
		{OpGetMembers, `{"group":"g","after":"."}`, "after", UserRule},
	}
	for _, tt := range tests {
		for _, codec := range codecs {
			t.Run(fmt.Sprintf("%s/%s/%s/%.40s", codec.Name(), tt.op, tt.field, tt.args), func(t *testing.T) {
				frame := encoded(t, codec, fmt.Sprintf(`{"id":1,"op":%q,"args":%s}`, tt.op, tt.args))
				r, err := DecodeRequest(codec, frame)
				if err != nil {
					t.Fatal(err)
				}
				err = argsFor(r.Op).Decode(r.Args)
				want := FieldError{CodeBadRequest, tt.field, tt.rule}
				if got, ok := errors.AsType[*FieldError](err); !ok || *got != want {
					t.Errorf("Decode(%s) = %v, want %v", tt.args, err, &want)
				}
			})
		}
	}
}

func TestArgsRefuseWhatOneEncodingAloneCanSay(t *testing.T) {
	const text = "must be valid UTF-8, without lone surrogates"
	tests := []struct {
		name  string
		codec Codec
		args  string
		want  FieldError
	}{
		{"integral float", JSON, `{"conv":"u:b","cid":"c","body":1,"ttl":1.0}`, FieldError{CodeBadRequest, "ttl", "must be an integer from 0 to 604800"}},
		{"exponent", JSON, `{"conv":"u:b","cid":"c","body":1,"ttl":1e1}`, FieldError{CodeBadRequest, "ttl", "must be an integer from 0 to 604800"}},
		{"minus zero", JSON, `{"conv":"u:b","cid":"c","body":1,"ttl":-0}`, FieldError{CodeBadRequest, "ttl", "must be an integer from 0 to 604800"}},
		{"beyond 2^64", JSON, `{"conv":"u:b","cid":"c","body":1,"ttl":18446744073709551617}`, FieldError{CodeBadRequest, "ttl", "must be an integer from 0 to 604800"}},
		{"lone surrogate", JSON, `{"conv":"u:b","cid":"\ud800","body":1}`, FieldError{CodeBadRequest, "cid", text}},
		{"invalid UTF-8", JSON, "{\"conv\":\"u:b\",\"cid\":\"\xff\",\"body\":1}", FieldError{CodeBadRequest, "cid", text}},
		{"body/duplicate", JSON, `{"conv":"u:b","cid":"c","body":{"a":1,"a":1}}`, FieldError{CodeBadRequest, "body", errBodyDuplicate.Rule}},
		{"body/surrogate", JSON, `{"conv":"u:b","cid":"c","body":"\udfff"}`, FieldError{CodeBadRequest, "body", errBodyText.Rule}},
		{"body/size", JSON, `{"conv":"u:b","cid":"c","body":"` + strings.Repeat("x", DefaultMaxBody-2) + `"}`, FieldError{CodeTooLarge, "body", tooLarge(DefaultMaxBody).Rule}},
		{"invalid UTF-8", Msgpack, "\x83\xa4conv\xa3u:b\xa3cid\xa1\xff\xa4body\x01", FieldError{CodeBadRequest, "cid", text}},
		{"bin as text", Msgpack, "\x83\xa4conv\xa3u:b\xa3cid\xc4\x01c\xa4body\x01", FieldError{CodeBadRequest, "cid", "must be text"}},
		{"integral float", Msgpack, "\x81\xa3ttl\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00", FieldError{CodeBadRequest, "ttl", "must be an integer from 0 to 604800"}},
		{"body/ext", Msgpack, "\x83\xa4conv\xa3u:b\xa3cid\xa1c\xa4body\xd6\xff\x00\x00\x00\x00", FieldError{CodeBadRequest, "body", errBodyExt.Rule}},
		{"body/bin map", Msgpack, "\x83\xa4conv\xa3u:b\xa3cid\xa1c\xa4body\x81\xa4$bin\xa0", FieldError{CodeBadRequest, "body", errBodyBinMap.Rule}},
		{"body/size", Msgpack, "\x83\xa4conv\xa3u:b\xa3cid\xa1c\xa4body\xc5\x30\x00" + strings.Repeat("x", 12<<10), FieldError{CodeTooLarge, "body", tooLarge(DefaultMaxBody).Rule}},
	}
	for _, tt := range tests {
		t.Run(tt.codec.Name()+"/"+tt.name, func(t *testing.T) {
			frame := `{"op":"send","args":` + tt.args + `}`
			if tt.codec == Msgpack {
				frame = "\x82\xa2op\xa4send\xa4args" + tt.args
			}
			r, err := DecodeRequest(tt.codec, []byte(frame))
			if err != nil {
				t.Fatal(err)
			}
			err = new(SendArgs).Decode(r.Args, DefaultMaxBody)
			if got, ok := errors.AsType[*FieldError](err); !ok || *got != tt.want {
				t.Errorf("Decode(%.80q) = %v, want %v", tt.args, err, &tt.want)
			}
		})
	}
}

// TestArgs reads the args of each op in both encodings, and what is written of
// the result once more.
func TestArgs(t *testing.T) {
	name := strings.Repeat("x", 256)
	tests := []struct {
		op, args string
		want     Args
	}{
		{OpLogin, `{"token":"","device":"d"}`, &LoginArgs{Device: "d", AutoRead: true, Recents: "on", GroupBacklog: 20}},
		{OpLogin, `{"token":"t","device":"d","platform":"web","since":"","groups":{"g":"c"},"autoRead":false,"recents":"off","groupBacklog":0,"more":[{}]}`,
			&LoginArgs{Token: "t", Device: "d", Platform: "web", HasSince: true, Groups: []GroupCursor{{"g", "c"}}, Recents: "off"}},
		{OpLogin, `{"token":"t","device":"d","platform":null,"since":null,"groups":null,"autoRead":null,"recents":null,"groupBacklog":null}`,
			&LoginArgs{Token: "t", Device: "d", AutoRead: true, Recents: "on", GroupBacklog: 20}},
		{OpAck, `{"d":9007199254740991}`, &AckArgs{MaxInt}},
		{OpRefreshToken, `{"token":"t"}`, &RefreshTokenArgs{"t"}},
		{OpSetState, `{"background":false}`, &SetStateArgs{false}},
		{OpPing, `{}`, &NoArgs{}},
		{OpPing, `null`, &NoArgs{}},
		{OpSend, `{"conv":"u:bob","cid":"ü","body":null}`, &sendArgs{SendArgs{Conv: UserConv("bob"), CID: "ü", Body: []byte{0xc0}}}},
		{OpSend, `{"conv":"g:team","cid":"c","body":{"b":1,"a":[]},"ttl":0,"retry":true,"mentions":["a","~!"]}`,
			&sendArgs{SendArgs{Conv: GroupConv("team"), CID: "c", Body: []byte("\x82\xa1a\x90\xa1b\x01"), HasTTL: true, Retry: true, Mentions: []string{"a", "~!"}}}},
		{OpSend, `{"conv":"u:b","cid":"c","body":false,"ttl":604800,"mentions":[]}`,
			&sendArgs{SendArgs{Conv: UserConv("b"), CID: "c", Body: []byte{0xc2}, HasTTL: true, TTL: 604800}}},
		{OpGetMessage, `{"conv":"u:b"}`, &GetMessageArgs{Conv: UserConv("b"), Limit: 20}},
		{OpGetMessage, `{"conv":"u:b","before":1,"limit":100}`, &GetMessageArgs{Conv: UserConv("b"), Before: 1, Limit: 100}},
		{OpGetMessage, `{"conv":"u:b","after":0,"before":null}`, &GetMessageArgs{Conv: UserConv("b"), HasAfter: true, Limit: 20}},
		{OpGetMessage, `{"conv":"u:b","range":[3,3]}`, &GetMessageArgs{Conv: UserConv("b"), From: 3, To: 3, Limit: 20}},
		{OpGetConversations, `{}`, &GetConversationsArgs{Limit: 20}},
		{OpGetConversations, `{"after":"u5","limit":100}`, &GetConversationsArgs{"u5", 100}},
		{OpReadReport, `{"conv":"u:b","seq":3}`, &ReadReportArgs{UserConv("b"), 3}},
		{OpRecall, `{"conv":"g:b","seq":3}`, &RecallArgs{GroupConv("b"), 3}},
		{OpDeleteMessage, `{"conv":"u:b","seqs":[3,1]}`, &DeleteMessageArgs{UserConv("b"), []uint64{3, 1}}},
		{OpDeleteConversation, `{"conv":"u:b"}`, &DeleteConversationArgs{Conv: UserConv("b")}},
		{OpDeleteConversation, `{"conv":"u:b","messages":true}`, &DeleteConversationArgs{UserConv("b"), true}},
		{OpSetConversation, `{"conv":"u:b","muted":false}`, &SetConversationArgs{Conv: UserConv("b"), Muted: new(false)}},
		{OpSetConversation, `{"conv":"u:b","pinned":true}`, &SetConversationArgs{Conv: UserConv("b"), Pinned: new(true)}},
		{OpSetConversation, `{"conv":"u:b","unread":true}`, &SetConversationArgs{Conv: UserConv("b"), Unread: new(true)}},
		{OpTyping, `{"conv":"u:b"}`, &TypingArgs{UserConv("b")}},
		{OpGetPresence, `{"users":["a","b"]}`, &PresenceArgs{[]string{"a", "b"}}},
		{OpBlock, `{"user":"a"}`, &BlockArgs{"a"}},
		{OpCreateGroup, `{"kind":"live"}`, &CreateGroupArgs{Kind: KindLive}},
		{OpCreateGroup, `{"group":"g","kind":"private","name":"` + name + `","members":["a"],"properties":{"x":1.5}}`,
			&CreateGroupArgs{Group: "g", Kind: KindPrivate, Name: name, Members: []string{"a"}, Properties: unhex(t, "81a178cb3ff8000000000000")}},
		{OpCreateGroup, `{"kind":"public","maxMembers":10000,"join":"open","history":"all","unread":false}`,
			&CreateGroupArgs{Kind: KindPublic, MaxMembers: 10000, Join: JoinOpen, History: HistoryAll, Unread: new(false)}},
		{OpCreateGroup, `{"kind":"live","stored":false}`, &CreateGroupArgs{Kind: KindLive, StoresMessages: new(false)}},
		{OpJoinGroup, `{"group":"g","message":"hi"}`, &GroupArgs{"g", "hi"}},
		{OpAnswerOwner, `{"group":"g","accept":true}`, &AnswerOwnerArgs{"g", true}},
		{OpUnban, `{"group":"g","user":"a"}`, &UnbanArgs{"g", "a"}},
		{OpGetBans, `{"group":"g","after":"a","limit":1}`, &GetMembersArgs{"g", "a", 1}},
		{OpRemoveMembers, `{"group":"g","users":["a"],"ban":60}`, &MembersArgs{"g", []string{"a"}, 60}},
		{OpSetGroup, `{"group":"g","maxMembers":5,"join":"open","history":"all","unread":false,"mutedAll":true}`,
			&SetGroupArgs{Group: "g", MaxMembers: 5, Join: JoinOpen, History: HistoryAll, Unread: new(false), MutedAll: new(true)}},
		{OpAnswerJoin, `{"group":"g","user":"a","accept":false}`, &AnswerJoinArgs{"g", "a", false}},
		{OpRemoveMembers, `{"group":"g","users":["a"]}`, &MembersArgs{"g", []string{"a"}, 0}},
		{OpSetMember, `{"group":"g","user":"a","role":"admin","mutedUntil":0}`, &SetMemberArgs{"g", "a", RoleAdmin, new(int64(0))}},
		{OpSetGroup, `{"group":"g","name":"","owner":"a","properties":{}}`, &SetGroupArgs{Group: "g", Name: new(""), Properties: []byte{0x80}, Owner: "a"}},
		{OpGetMembers, `{"group":"g","after":"a","limit":1}`, &GetMembersArgs{"g", "a", 1}},
		{OpGetGroups, `{"after":"g","limit":1}`, &GetGroupsArgs{"g", 1}},
		{OpGetGroups, `{}`, &GetGroupsArgs{"", MaxGroups}},
	}
	for _, tt := range tests {
		for _, codec := range codecs {
			r, err := DecodeRequest(codec, encoded(t, codec, fmt.Sprintf(`{"id":5,"op":%q,"args":%s}`, tt.op, tt.args)))
			if err != nil {
				t.Fatal(err)
			}
			got := argsFor(tt.op)
			if err := got.Decode(r.Args); err != nil || !reflect.DeepEqual(any(got), any(tt.want)) {
				t.Errorf("%s: Decode(%s %s) = %+v, %v, want %+v", codec.Name(), tt.op, tt.args, got, err, tt.want)
				continue
			}
			frame := AppendRequest([]byte("before"), codec, 6, tt.op, tt.want)
			again, err := DecodeRequest(codec, frame[len("before"):])
			if err != nil || again.ID != 6 || again.Op != tt.op {
				t.Errorf("%s: DecodeRequest(%q) = %+v, %v", codec.Name(), frame, again, err)
				continue
			}
			got = argsFor(tt.op)
			if err := got.Decode(again.Args); err != nil || !reflect.DeepEqual(any(got), any(tt.want)) {
				t.Errorf("%s: Decode of what was written of %s %s = %+v, %v, want %+v", codec.Name(), tt.op, tt.args, got, err, tt.want)
			}
		}
	}
}

func TestAppendRequestIsJSON(t *testing.T) {
	frame := AppendRequest(nil, JSON, 0, OpAck, &AckArgs{7})
	if want := `{"op":"ack","args":{"d":7}}`; string(frame) != want {
		t.Errorf("AppendRequest = %s, want %s", frame, want)
	}
	frame = AppendRequest(nil, JSON, 3, OpPing, nil)
	if want := `{"id":3,"op":"ping"}`; string(frame) != want {
		t.Errorf("AppendRequest = %s, want %s", frame, want)
	}
	args := &LoginArgs{Token: "a\"\\\n\x00é", Device: "d", Groups: []GroupCursor{{`"\`, "1"}, {"h", "2"}}, Recents: RecentsOn}
	frame = AppendRequest(nil, JSON, 1, OpLogin, args)
	if !json.Valid(frame) {
		t.Errorf("AppendRequest = %s, which is no JSON", frame)
	}
}

func TestRepeatedKeyCountsAsItsLast(t *testing.T) {
	r, err := DecodeRequest(JSON, []byte(`{"op":"ack","args":{"d":1,"d":2}}`))
	if err != nil {
		t.Fatal(err)
	}
	var a AckArgs
	if err := a.Decode(r.Args); err != nil || a.D != 2 {
		t.Errorf("Decode = %+v, %v, want 2", a, err)
	}
}

func TestIdents(t *testing.T) {
	for _, c := range []Conv{UserConv("a"), GroupConv("team"), UserConv(strings.Repeat("~", 64)), GroupConv(strings.Repeat("!", 48))} {
		if got, err := ParseConv(c.String()); err != nil || got != c {
			t.Errorf("ParseConv(%s) = %v, %v", c, got, err)
		}
	}
	for _, s := range []string{"", "u", "u:", "g:", "U:a", "ua", "u:\x7f", "g:" + strings.Repeat("x", 49)} {
		if got, err := ParseConv(s); err == nil {
			t.Errorf("ParseConv(%q) = %v, want an error", s, got)
		}
	}
	id := ID{1, 2, 3, 255}
	if got, err := ParseID(id.String()); err != nil || got != id {
		t.Errorf("ParseID(%s) = %v, %v", id, got, err)
	}
	for _, s := range []string{"", "x", strings.Repeat("!", 26), "81" + strings.Repeat("0", 24), strings.ToLower(ID{255}.String()), strings.Repeat("U", 26)} {
		if got, err := ParseID(s); err == nil {
			t.Errorf("ParseID(%q) = %v, want an error", s, got)
		}
	}
}

// TestNamePatterns: the rule of names is the same in schemas as in frames.
func TestNamePatterns(t *testing.T) {
	user, group, conv := regexp.MustCompile(UserPattern), regexp.MustCompile(GroupPattern), regexp.MustCompile(ConvPattern)
	parts := []string{"", ".", "..", "...", ".a", "a.", "..a", "...a", "a..", "-", "/", "./", "../", ".-", "!", "~", ".~", "..!", " ", "a b", ".\x7f", "é", "a\n", ".\n", "%2e"}
	for _, n := range []int{47, 48, 49, 63, 64, 65} {
		for _, first := range []string{"", ".", "..", "..."} {
			parts = append(parts, first+strings.Repeat("x", n-len(first)), strings.Repeat(".", n))
		}
	}
	for _, s := range parts {
		if got, want := user.MatchString(s), ValidUser(s); got != want {
			t.Errorf("user %q: the pattern says %v, want %v", s, got, want)
		}
		if got, want := group.MatchString(s), ValidGroup(s); got != want {
			t.Errorf("group %q: the pattern says %v, want %v", s, got, want)
		}
		for _, c := range []string{"u:" + s, "g:" + s, s} {
			if _, err := ParseConv(c); conv.MatchString(c) != (err == nil) {
				t.Errorf("conversation %q: the pattern says %v, want %v", c, conv.MatchString(c), err)
			}
		}
	}
	for _, s := range []string{".", ".."} {
		if ValidUser(s) || ValidGroup(s) {
			t.Errorf("%q is a name", s)
		}
	}
}

func TestFieldErrorMessageNamesFieldAndRule(t *testing.T) {
	r, err := DecodeRequest(JSON, []byte(`{"id":1,"op":"readReport","args":{"conv":"u:bob","seq":0}}`))
	if err != nil {
		t.Fatal(err)
	}
	err = new(ReadReportArgs).Decode(r.Args)
	field, ok := errors.AsType[*FieldError](err)
	if want := "seq: must be an integer from 1 to 9007199254740991"; !ok || field.Message() != want || err.Error() != "protocol: "+want {
		t.Errorf("Decode = %v, want the message %q", err, want)
	}
}
