package peer

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/codec"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

func TestRequestsThereAndBack(t *testing.T) {
	want := []Request{
		{Kind: Command, Shard: 1<<32 - 1, Term: 1<<64 - 1, Body: bytes.Repeat([]byte("x"), 300)},
		{Kind: Read, Body: []byte{}},
	}
	message := []byte{version}
	for i := range want {
		message = appendRequest(message, uint64(i+1), &want[i])
	}
	var got []Request
	err := items(message, func(item []byte) error {
		number, r, err := decodeRequest(item)
		if number != uint64(len(got)+1) {
			t.Errorf("number %d of request %d", number, len(got)+1)
		}
		got = append(got, r)
		return err
	})
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v, %v, want %+v", got, err, want)
	}
	message[0]++
	if err := items(message, func([]byte) error { return nil }); err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("message of another version: %v", err)
	}
}

// Errors arrive as what callers decide by, with the time to wait and their text.
func TestErrorsTravel(t *testing.T) {
	targets := []error{store.ErrUnavailable, store.ErrNotLeader, store.ErrUnknown, ErrFailed}
	for name, err := range map[string]error{
		"unavailable": store.Unavailable(3*time.Second, "no röom"),
		"not leader":  store.NotLeader("gone"),
		"unknown":     errors.Join(store.ErrUnknown, store.NotLeader("lost")),
		"failed":      ErrFailed,
		"long":        store.Unavailable(time.Second, strings.Repeat("ö", maxText)),
	} {
		_, a := decoded(t, Answer{Term: 3, Applied: 4, Err: err})
		if a.Term != 3 || a.Applied != 4 {
			t.Errorf("%s: stamp %d, %d", name, a.Term, a.Applied)
		}
		for _, target := range targets {
			want := errors.Is(err, target)
			if errors.Is(err, store.ErrUnknown) {
				want = target == store.ErrUnknown // what is in doubt was not refused
			}
			if got := errors.Is(a.Err, target); got != want {
				t.Errorf("%s: is %v: %v, want %v", name, target, got, want)
			}
		}
		if got, want := store.RetryAfter(a.Err), store.RetryAfter(err); got != want {
			t.Errorf("%s: retry after %v, want %v", name, got, want)
		}
		if name != "long" && !strings.Contains(a.Err.Error(), err.Error()) {
			t.Errorf("%s: text %q", name, a.Err)
		}
	}
	_, a := decoded(t, Answer{Err: &command.RefusedError{Code: command.CodeForbidden, Detail: "conv: blocked", RetryAfterMS: 7}})
	if r, ok := errors.AsType[*command.RefusedError](a.Err); !ok || *r != (command.RefusedError{Code: command.CodeForbidden, Detail: "conv: blocked", RetryAfterMS: 7}) {
		t.Errorf("refusal arrives as %v", a.Err)
	}
	if _, a := decoded(t, Answer{Term: 1, Body: []byte("body")}); a.Err != nil || string(a.Body) != "body" {
		t.Errorf("answer arrives as %+v", a)
	}
}

func decoded(t *testing.T, a Answer) (number uint64, got Answer) {
	t.Helper()
	err := items(appendAnswer([]byte{version}, 9, &a), func(item []byte) (err error) {
		number, got, err = decodeAnswer(item)
		return err
	})
	if err != nil || number != 9 {
		t.Fatalf("answer %+v: number %d, %v", a, number, err)
	}
	return number, got
}

func TestQueriesThereAndBack(t *testing.T) {
	asked := []query.Query{&query.Contact{User: "a", Peer: "b"}, &query.SeqOf{User: "a"}}
	got, err := DecodeQueries(AppendQueries(nil, asked))
	if err != nil || !reflect.DeepEqual(got, asked) {
		t.Fatalf("read %+v, %v, want %+v", got, err, asked)
	}
	got[0].(*query.Contact).LastSeen, got[1].(*query.SeqOf).Seq = 5, 6
	answers := AppendAnswers(nil, got)
	if err := DecodeAnswers(answers, asked); err != nil || !reflect.DeepEqual(got, asked) {
		t.Errorf("answers %+v, %v, want %+v", asked, err, got)
	}
	if err := DecodeAnswers(answers, append(asked, new(query.SeqOf))); err == nil {
		t.Error("a missing answer is not noticed")
	}
	for age, want := range map[time.Duration]time.Duration{time.Second: time.Second, -time.Second: 0, 3 * time.Hour: time.Hour} {
		login := LoginBody{Recents: query.RecentsOff, Age: age, Counted: true, Command: []byte("cmd")}
		got, err := DecodeLogin(login.Append(nil))
		if login.Age = want; err != nil || !reflect.DeepEqual(got, login) {
			t.Errorf("login arrives as %+v, %v, want %+v", got, err, login)
		}
	}
	sync := &query.Sync{Session: 3, Arrival: 4, Offline: 5}
	if got, err := DecodeSync(AppendSync(nil, sync)); err != nil || got.Session != 3 || got.Arrival != 4 || got.Offline != 5 {
		t.Errorf("sync arrives as %+v, %v", got, err)
	}
}

// A node of the next version has more to say, at the end of all that it sends; and there
// are errors that this one does not know.
func TestMessagesOfNextVersion(t *testing.T) {
	more := func(b []byte) []byte { return append(b, "more"...) }
	asked := []query.Query{&query.SeqOf{User: "a"}, &query.Contact{User: "a", Peer: "b"}}
	body := codec.AppendUint(nil, uint64(len(asked)))
	for _, q := range asked {
		body = codec.AppendBytes(body, more(query.AppendQuery(nil, q)))
	}
	got, err := DecodeQueries(more(body))
	if err != nil || !reflect.DeepEqual(got, asked) {
		t.Errorf("queries arrive as %+v, %v", got, err)
	}
	answered := []query.Query{&query.SeqOf{User: "a", Seq: 5}, &query.Contact{User: "a", Peer: "b", LastSeen: 6}}
	body = nil
	for _, q := range answered {
		body = codec.AppendBytes(body, more(query.AppendAnswer(nil, q, nil)))
	}
	if err := DecodeAnswers(more(body), got); err != nil || !reflect.DeepEqual(got, answered) {
		t.Errorf("answers arrive as %+v, %v", got, err)
	}
	if r, err := DecodeResult(more(AppendResult(nil, &command.Result{Seq: 3}))); err != nil || r.Seq != 3 {
		t.Errorf("result arrives as %+v, %v", r, err)
	}
	if s, err := DecodeSync(more(AppendSync(nil, &query.Sync{Session: 3}))); err != nil || s.Session != 3 {
		t.Errorf("sync arrives as %+v, %v", s, err)
	}
	if _, err := DecodeQueries(codec.AppendBytes([]byte{1}, []byte{255})); err == nil || !strings.Contains(err.Error(), "kind 255 is not known: this binary is older") {
		t.Errorf("a query of an unknown kind: %v", err)
	}

	for name, known := range map[string]error{
		"refused":     &command.RefusedError{Code: command.CodeForbidden, Detail: "conv: blocked", RetryAfterMS: 7},
		"unavailable": store.Unavailable(3*time.Second, "later"),
		"none":        store.NotLeader("gone"),
	} {
		item := appendAnswer(nil, 9, &Answer{Term: 3, Applied: 4, Err: known})[4:]
		number, a, err := decodeAnswer(more(item))
		if err != nil || number != 9 || outcomeOf(a.Err) != outcomeOf(known) {
			t.Errorf("%s: a longer answer arrives as %d, %+v, %v", name, number, a, err)
		}
	}
	item := appendAnswer(nil, 9, &Answer{Term: 3, Applied: 4, Err: store.Unavailable(3*time.Second, "gone fishing")})[4:]
	item[3] = 99
	_, a, err := decodeAnswer(item)
	if err != nil || !errors.Is(a.Err, store.ErrUnknown) || errors.Is(a.Err, store.ErrUnavailable) || !strings.Contains(a.Err.Error(), "gone fishing") {
		t.Errorf("an error of an unknown kind arrives as %v, %v, want one that leaves the outcome open", a.Err, err)
	}
}

// FuzzMessage reads messages as both ends would. What can be read is written as it was.
func FuzzMessage(f *testing.F) {
	f.Add(appendRequest([]byte{version}, 1, &Request{Kind: Read, Shard: 1, Body: AppendQueries(nil, []query.Query{&query.SeqOf{User: "a"}})}))
	f.Add(appendAnswer([]byte{version}, 1, &Answer{Err: store.NotLeader("no")}))
	f.Add(appendAnswer([]byte{version}, 1, &Answer{Err: &command.RefusedError{Code: 1, Detail: "d"}}))
	f.Add(appendAnswer([]byte{version}, 1, &Answer{Body: AppendResult(nil, &command.Result{Seq: 1})}))
	f.Fuzz(func(t *testing.T, message []byte) {
		items(message, func(item []byte) error {
			if number, r, err := decodeRequest(item); err == nil {
				again := appendRequest(nil, number, &r)
				if n, r2, err := decodeRequest(again[4:]); err != nil || n != number || !reflect.DeepEqual(r, r2) {
					t.Errorf("request %+v becomes %+v, %v", r, r2, err)
				}
				DecodeQueries(r.Body)
				DecodeLogin(r.Body)
			}
			if number, a, err := decodeAnswer(item); err == nil {
				again := appendAnswer(nil, number, &a)
				n, a2, err := decodeAnswer(again[4:])
				if err != nil || n != number || outcomeOf(a.Err) != outcomeOf(a2.Err) || !bytes.Equal(a.Body, a2.Body) {
					t.Errorf("answer %+v becomes %+v, %v", a, a2, err)
				}
				DecodeResult(a.Body)
				DecodeSync(a.Body)
				DecodeAnswers(a.Body, []query.Query{new(query.Contact), &query.UpdatesAfter{Updates: new(query.Updates)}})
			}
			return nil
		})
	})
}
