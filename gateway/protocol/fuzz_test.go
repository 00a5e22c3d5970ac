package protocol

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// seeds are frames and bodies that fuzzing starts from, as JSON.
var seeds = []string{
	`{"id":1,"op":"send","args":{"conv":"u:bob","cid":"c","body":{"b":[1,-1,1.5,null,true],"a":"\ud83d\ude00\n","c":{"$bin":"YWI="}},"ttl":60,"retry":true,"mentions":["al"]}}`,
	`{"id":2,"op":"login","args":{"token":"t","device":"d","since":"x","groups":{"g":"c"},"recents":"quiet","groupBacklog":3}}`,
	`{"op":"ack","args":{"d":9007199254740991}}`,
	`{"id":3,"op":"getMessage","args":{"conv":"g:team","range":[1,9],"limit":5}}`,
	`{"id":4,"op":"deleteMessage","args":{"conv":"u:bob","seqs":[1,2]}}`,
	`{"id":5,"op":"createGroup","args":{"kind":"live","members":["a","b"],"properties":{"z":1,"y":{}}}}`,
	`{"id":7,"ok":{"id":"` + testIDText + `","seq":3,"time":9,"duplicate":true}}`,
	`{"id":7,"err":{"code":"unavailable","message":"wait","retryAfterMs":250}}`,
	`{"id":7,"ok":{"messages":[` + testMessageText + `],"from":1,"to":9,"gaps":[{"from":1,"to":2,"reason":"expired"}],"more":false}}`,
	`{"id":7,"ok":{"presence":{"bob":{"online":true,"lastSeen":5}}}}`,
	`{"op":"onNewMessage","args":{"d":1,"messages":[` + testMessageText + `],"cursor":"c","groupCursors":{"g":"c"},"skipped":2}}`,
	`{"op":"onSynced","args":{"offline":2,"lost":[{"conv":"u:a","from":1,"to":4,"count":3}],"cursor":"c","conversations":[{"conv":"u:a","lastSeq":9,"time":8,"readSeq":7,"last":` + testMessageText + `}]}}`,
	`{"op":"onRecall","args":{"conv":"u:a","ranges":[[1,2]],"by":"a"}}`,
	`[0,-1,127,128,65536,9223372036854775808,-9223372036854775808,1e21,-0.0]`,
}

// allSeeds are seeds, each payload with all its fields, and each word that a field
// of a request may have.
func allSeeds() []string {
	all := seeds
	for _, f := range goldenFrames() {
		all = append(all, string(f.encode(JSON)))
	}
	for key, of := range map[string]*Enum{"kind": GroupKinds, "join": JoinModes, "history": Histories, "role": SettableRoles, "recents": RecentsModes} {
		for _, word := range of.Words {
			all = append(all, fmt.Sprintf(`{"id":1,"op":"createGroup","args":{"group":"g","user":"u","kind":"public","token":"t","device":"d",%q:%q}}`, key, word))
		}
	}
	return all
}

// requestPayloads and serverPayloads are one of each struct that a frame is read into.
func requestPayloads() []payload {
	var ps []payload
	for _, o := range Ops {
		ps = append(ps, argsFor(o.Name))
	}
	return ps
}

func serverPayloads() []payload {
	var ps []payload
	for _, o := range Ops {
		ps = append(ps, o.OK())
	}
	for _, p := range Pushes {
		ps = append(ps, p.Args())
	}
	return ps
}

func FuzzRequestJSON(f *testing.F) {
	for _, s := range allSeeds() {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := DecodeRequest(JSON, data)
		var malformed *MalformedError
		switch {
		case err == nil && !json.Valid(data):
			t.Fatalf("DecodeRequest(%q) = %+v, which is no JSON", data, r)
		case errors.As(err, &malformed) && strings.HasPrefix(malformed.Reason, "it ends early") && json.Valid(data):
			t.Fatalf("DecodeRequest(%q) = %v, which is JSON", data, err)
		}
		checkRequest(t, JSON, r, err)
	})
}

func FuzzRequestMsgpack(f *testing.F) {
	for _, s := range allSeeds() {
		f.Add(msgpackOf(f, s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := DecodeRequest(Msgpack, data)
		checkRequest(t, Msgpack, r, err)
	})
}

// checkRequest reads the args of r as those of each op. What is accepted has to
// survive both encodings.
func checkRequest(t *testing.T, codec Codec, r Request, err error) {
	if err != nil {
		if _, ok := errors.AsType[*MalformedError](err); !ok {
			t.Fatalf("DecodeRequest = %v, want a MalformedError", err)
		}
		return
	}
	for _, args := range requestPayloads() {
		if err := args.Decode(r.Args); err != nil {
			wantFieldError(t, err)
			continue
		}
		for _, codec := range codecs {
			frame := AppendRequest(nil, codec, 1, r.Op, args.(Args))
			again, err := DecodeRequest(codec, frame)
			if err != nil || again.Op != r.Op {
				t.Fatalf("DecodeRequest(%q) = %+v, %v, want op %q", frame, again, err, r.Op)
			}
			back := fresh(args)
			if err := back.Decode(again.Args); err != nil || !reflect.DeepEqual(back, args) {
				t.Fatalf("Decode(%q) = %+v, %v, want %+v", frame, back, err, args)
			}
		}
	}
}

func wantFieldError(t *testing.T, err error) {
	if f, ok := errors.AsType[*FieldError](err); !ok || f.Field == "" || f.Rule == "" || f.Code == "" {
		t.Fatalf("Decode = %#v, want a FieldError with all its fields", err)
	}
}

// fresh is a new zero value of p's type.
func fresh(p payload) payload {
	return reflect.New(reflect.TypeOf(p).Elem()).Interface().(payload)
}

func FuzzServerFrame(f *testing.F) {
	for _, s := range allSeeds() {
		f.Add([]byte(s), false)
		f.Add(msgpackOf(f, s), true)
	}
	f.Fuzz(func(t *testing.T, data []byte, binary bool) {
		codec := JSON
		if binary {
			codec = Msgpack
		}
		frame, err := DecodeServerFrame(codec, data)
		if err != nil {
			if _, ok := errors.AsType[*MalformedError](err); !ok {
				t.Fatalf("DecodeServerFrame = %v, want a MalformedError", err)
			}
			return
		}
		for _, p := range serverPayloads() {
			if err := frame.Decode(p); err != nil {
				wantFieldError(t, err)
				continue
			}
			// An absent list is written as an empty one, so the second writing counts.
			first := reread(t, codec, p)
			for _, codec := range codecs {
				if again := reread(t, codec, first); !reflect.DeepEqual(again, first) {
					t.Fatalf("%s: %+v became %+v", codec.Name(), first, again)
				}
			}
		}
	})
}

// reread writes p and reads it back.
func reread(t *testing.T, codec Codec, p payload) payload {
	var frame []byte
	if ok, isOK := p.(OK); isOK {
		frame = AppendReplyOK(nil, codec, 1, ok)
	} else {
		frame = appendPush(nil, codec, p)
	}
	f, err := DecodeServerFrame(codec, frame)
	if err != nil {
		t.Fatalf("DecodeServerFrame(%q) = %v", frame, err)
	}
	back := fresh(p)
	if err := f.Decode(back); err != nil {
		t.Fatalf("Decode(%q) = %v", frame, err)
	}
	return back
}

func FuzzBodyJSON(f *testing.F) {
	for _, s := range allSeeds() {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if end := skipJSON(data, 0); (end >= 0 && skipSpace(data, end) == len(data)) != json.Valid(data) {
			t.Fatalf("skipJSON(%q) = %d of %d, json.Valid = %v", data, end, len(data), json.Valid(data))
		}
		body, err := CanonicalJSON(nil, data, MaxFrame)
		if err != nil {
			wantFieldError(t, err)
			return
		}
		var v any
		if err := json.Unmarshal(data, &v); err != nil {
			t.Fatalf("CanonicalJSON(%q) = %x, which is no JSON: %v", data, body, err)
		}
		checkBody(t, body)
	})
}

func FuzzBodyMsgpack(f *testing.F) {
	for _, s := range allSeeds() {
		f.Add(msgpackOf(f, s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		body, err := CanonicalMsgpack(nil, data, MaxFrame)
		canonical := canonicalEnd(data, 0, 0) == len(data)
		if canonical && len(data) <= MaxFrame && !bytes.Equal(body, data) {
			t.Fatalf("CanonicalMsgpack(%x) = %x, %v, but it is canonical", data, body, err)
		}
		if err != nil {
			wantFieldError(t, err)
			return
		}
		if !canonical && bytes.Equal(body, data) {
			t.Fatalf("CanonicalMsgpack(%x) changes nothing, but it is not canonical", data)
		}
		checkBody(t, body)
	})
}

// checkBody checks that a body comes back equal in all the ways there are.
func checkBody(t *testing.T, body []byte) {
	if end := canonicalEnd(body, 0, 0); end != len(body) {
		t.Fatalf("canonicalEnd(%x) = %d, want %d", body, end, len(body))
	}
	text := AppendBodyJSON(nil, body)
	if again, err := CanonicalJSON(nil, text, MaxFrame); err != nil || !bytes.Equal(again, body) {
		t.Fatalf("CanonicalJSON(%q) = %x, %v, want %x", text, again, err, body)
	}
	v, err := BodyValue(body)
	if err != nil {
		t.Fatalf("BodyValue(%x) = %v", body, err)
	}
	if again, err := EncodeBody(v); err != nil || !bytes.Equal(again, body) {
		t.Fatalf("EncodeBody(%v) = %x, %v, want %x", v, again, err, body)
	}
}
