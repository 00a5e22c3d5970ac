package loadtest

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

const testBody = 100

// A viewTest plays the server to bob's view of his conversation with alice.
type viewTest struct {
	t       *testing.T
	view    *view
	hers    *Stream // alice → bob
	seq     uint64  // of bob's view
	resumed origin
}

func newViewTest(t *testing.T) *viewTest {
	hers, his := NewStream(1, "alice", "bob", testBody), NewStream(2, "bob", "alice", testBody)
	return &viewTest{t: t, view: newView("bob", protocol.UserConv("alice"), his, hers, true), hers: hers, resumed: origin{sync: true, resume: true}}
}

// incoming makes alice's next message, stored at the next seq.
func (v *viewTest) incoming() *protocol.Message {
	v.seq++
	return v.stored(v.hers, v.hers.take(), v.seq)
}

func (v *viewTest) stored(s *Stream, counter, seq uint64) *protocol.Message {
	return &protocol.Message{
		ID: protocol.ID{byte(s.id), byte(counter)}, Conv: v.view.conv, From: s.from, Seq: seq,
		Time: int64(1000 + seq), CID: []byte(cidOf(counter)),
		Body: appendBody(nil, s.id, counter, time.Duration(counter)*time.Millisecond, s.size),
	}
}

// send has bob send.
func (v *viewTest) send() *outgoing {
	o := new(outgoing)
	v.view.send(o, 0)
	return o
}

// ok requires that a message is taken as new.
func (v *viewTest) ok(m *protocol.Message) {
	v.t.Helper()
	if fresh, _, err := v.view.receive(m, origin{}); !fresh || err != nil {
		v.t.Fatalf("receive(seq %d) = %v, %v; want true", m.Seq, fresh, err)
	}
}

// answer answers a send.
func (v *viewTest) answer(o *outgoing, seq uint64, duplicate bool) error {
	err := v.view.answered(o, &protocol.SendOK{ID: protocol.ID{2, byte(o.counter)}, Seq: seq, Duplicate: duplicate})
	if err == nil {
		err = v.view.settle(func(*outgoing) {})
	}
	return err
}

// caught requires a violation that says want.
func caught(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil {
		t.Fatalf("nothing was found wrong, want %q", want)
	}
	if !strings.Contains(err.Error(), want) {
		t.Fatalf("found %q, want %q", err, want)
	}
}

// convicted requires that a run found a violation that says want.
func convicted(t *testing.T, v Verdict, want string) {
	t.Helper()
	if v.Violations == 0 {
		t.Fatalf("the run passed, want a violation with %q", want)
	}
	caught(t, errors.New(strings.Join(v.Examples, "\n")), want)
}

func TestViewAcceptsWhatIsRight(t *testing.T) {
	v := newViewTest(t)
	v.ok(v.incoming())
	first, second := v.send(), v.send()
	v.seq += 2 // both are stored, and alice's next is pushed before they are answered
	v.ok(v.incoming())
	if err := v.answer(second, 3, false); err != nil { // replies may change places
		t.Fatal(err)
	}
	if err := v.answer(first, 2, false); err != nil {
		t.Fatal(err)
	}
	v.ok(v.incoming())
	if err := v.view.settled(); err != nil {
		t.Error(err)
	}
	if err := v.hers.settled(); err != nil {
		t.Error(err)
	}
}

// TestViewCatches plants what a server must not do into a conversation of one
// message each way.
func TestViewCatches(t *testing.T) {
	plain := func(v *viewTest, m *protocol.Message) error {
		_, _, err := v.view.receive(m, origin{})
		return err
	}
	for name, c := range map[string]struct {
		plant func(v *viewTest) error
		want  string
	}{
		"lost": {func(v *viewTest) error {
			v.incoming()
			return plain(v, v.incoming())
		}, "seq 4 came while 1 below are missing, the first of them [3], and 0 sends have no answer"},
		"lost at the end": {func(v *viewTest) error {
			v.incoming()
			return v.hers.settled()
		}, "alice → bob: 1 messages were delivered, want 2; message 2 is the first"},
		"lost without a hole in the seqs": {func(v *viewTest) error {
			v.hers.take()
			if err := plain(v, v.incoming()); err != nil {
				v.t.Fatal(err) // it could still come, had it been refused and sent again
			}
			return v.hers.settled()
		}, "2 messages were delivered, want 3; message 2 is the first"},
		"doubled": {func(v *viewTest) error {
			m := v.incoming()
			v.ok(m)
			return plain(v, m)
		}, "seq 3 came twice"},
		"doubled under another seq": {func(v *viewTest) error {
			m := v.incoming()
			v.ok(m)
			m.Seq++
			return plain(v, m)
		}, "message 2 came again under another seq"},
		"reordered": {func(v *viewTest) error {
			m := v.incoming()
			v.send() // so that a seq may be missing
			v.ok(v.incoming())
			return plain(v, m)
		}, "message 2 came after 3"},
		"reordered pushes": {func(v *viewTest) error {
			m := v.incoming()
			v.send()
			v.view.excuse(v.view.flight[0])
			v.hers.excuse(2)
			v.ok(v.incoming())
			return plain(v, m)
		}, "seq 3 came after seq 4"},
		"altered": {func(v *viewTest) error {
			m := v.incoming()
			m.Body[testBody-1] ^= 2
			return plain(v, m)
		}, "body was altered"},
		"another message's body": {func(v *viewTest) error {
			m := v.incoming()
			m.Body = v.stored(v.hers, 1, 0).Body
			return plain(v, m)
		}, `has cid "000000000002", want "000000000001"`},
		"never sent": {func(v *viewTest) error { return plain(v, v.stored(v.hers, 9, 3)) }, "message 9 came, but only 1 were sent"},
		"wrong sender": {func(v *viewTest) error {
			m := v.incoming()
			m.From = "carol"
			return plain(v, m)
		}, `seq 3 is from "carol", want "alice"`},
		"time falls": {func(v *viewTest) error {
			m := v.incoming()
			m.Time = 1
			return plain(v, m)
		}, "seq 3 has time 1, one before it 1001"},
		"ephemeral": {func(v *viewTest) error {
			m := v.incoming()
			m.Ephemeral, m.Seq = true, 0
			return plain(v, m)
		}, "ephemeral"},
		"own message pushed": {func(v *viewTest) error {
			return plain(v, v.stored(v.view.out, 1, 2))
		}, "its own session should not be told"},
		"sends stored out of order": {func(v *viewTest) error {
			first, second := v.send(), v.send()
			if err := v.answer(first, 4, false); err != nil {
				return err
			}
			return v.answer(second, 3, false)
		}, "send 3 is stored as seq 3, one before it as 4"},
		"seq of another message": {func(v *viewTest) error {
			return v.answer(v.send(), 1, false)
		}, "seq 1, which another message has"},
		"repeat that was none": {func(v *viewTest) error {
			return v.answer(v.send(), 3, true)
		}, "said to be a repeat, but was sent once"},
		"no answer": {func(v *viewTest) error {
			v.send()
			return v.view.settled()
		}, "1 sends have no answer, the first of them 2"},
		"hole at the end": {func(v *viewTest) error {
			if err := v.answer(v.send(), 4, false); err != nil {
				v.t.Fatal(err) // alice's message 3 could be on its way
			}
			return v.view.settled()
		}, "goes to seq 4, but seqs are missing, the first of them [3]"},
		"pushed again with another id": {func(v *viewTest) error {
			m := v.stored(v.hers, 1, 1)
			m.ID[5] = 1
			_, _, err := v.view.receive(m, v.resumed)
			return err
		}, "seq 1 came again with id"},
		"pushed again after the sync": {func(v *viewTest) error {
			_, _, err := v.view.receive(v.stored(v.hers, 1, 1), origin{resume: true})
			return err
		}, "seq 1 came twice"},
		"stored twice across a reconnect": {func(v *viewTest) error {
			// The first copy comes by push, the retry is answered with another.
			o := v.send()
			v.view.excuse(o)
			if _, _, err := v.view.receive(v.stored(v.view.out, 2, 3), v.resumed); err != nil {
				v.t.Fatal(err)
			}
			return v.answer(o, 4, false)
		}, "send 2 is stored as seq 4"},
		"stored twice, the copy pushed after the answer": {func(v *viewTest) error {
			o := v.send()
			v.view.excuse(o)
			if err := v.answer(o, 3, false); err != nil {
				v.t.Fatal(err)
			}
			_, _, err := v.view.receive(v.stored(v.view.out, 2, 4), v.resumed)
			return err
		}, "own message 2 came as seq 4, but was answered with another"},
	} {
		t.Run(name, func(t *testing.T) {
			v := newViewTest(t)
			v.ok(v.incoming())
			v.seq++
			if err := v.answer(v.send(), 2, false); err != nil {
				t.Fatal(err)
			}
			caught(t, c.plant(v), c.want)
		})
	}
}

// TestViewResumes takes what a second session may rightly push and answer.
func TestViewResumes(t *testing.T) {
	v := newViewTest(t)
	held := v.incoming()
	v.ok(held)
	lost, kept := v.send(), v.send() // stored, but the connection broke before the answers
	v.seq += 2

	repeat := func(m *protocol.Message, o origin) {
		t.Helper()
		if fresh, _, err := v.view.receive(m, o); fresh || err != nil {
			t.Fatalf("receive(seq %d again) = %v, %v; want false", m.Seq, fresh, err)
		}
	}
	repeat(held, v.resumed)
	own := v.stored(v.view.out, lost.counter, 2)
	repeat(own, v.resumed)
	v.view.excuse(lost)
	v.view.excuse(kept)
	if err := v.answer(lost, 2, true); err != nil {
		t.Fatal(err)
	}
	if err := v.answer(kept, 3, true); err != nil {
		t.Fatal(err)
	}
	repeat(own, origin{resume: true}) // what an old session sent may come late
	v.ok(v.incoming())
	if err := v.view.settled(); err != nil {
		t.Error(err)
	}
}

// TestViewExcuses lets a message that was refused once come after later ones,
// and no other.
func TestViewExcuses(t *testing.T) {
	v := newViewTest(t)
	late, other := v.hers.take(), v.hers.take()
	v.ok(v.incoming())
	v.hers.excuse(late)
	v.ok(v.stored(v.hers, late, 2))
	_, _, err := v.view.receive(v.stored(v.hers, other, 3), origin{})
	caught(t, err, "message 2 came after 3")
	if err := v.hers.settled(); err != nil {
		t.Errorf("each came once, in whatever order: %v", err)
	}

	first, second := v.send(), v.send()
	v.view.excuse(first)
	if err := v.answer(second, 4, false); err != nil {
		t.Fatal(err)
	}
	if err := v.answer(first, 5, false); err != nil {
		t.Errorf("a send that was refused is stored after a later one: %v", err)
	}
}

func TestStreamBoundsHoles(t *testing.T) {
	s := NewStream(1, "alice", "bob", testBody)
	for range maxHoles + 2 {
		s.take()
	}
	caught(t, s.deliver(maxHoles+2), "are missing")
	if len(s.holes) > 0 {
		t.Errorf("%d holes are kept", len(s.holes))
	}
}

func TestOneFaultIsReportedOnce(t *testing.T) {
	v := newViewTest(t)
	v.incoming()
	var found []string
	for range 5 {
		if _, _, err := v.view.receive(v.incoming(), origin{}); err != nil {
			found = append(found, err.Error())
		}
	}
	if len(found) != 1 {
		t.Errorf("one lost message gave %d violations, want 1:\n%v", len(found), slices.Compact(found))
	}
}
