package loadtest

import (
	"slices"
	"testing"
	"time"
)

func TestSilences(t *testing.T) {
	now := time.Duration(0)
	s := newSilences(func() time.Duration { return now })
	s.measure(100, 1000)
	want := func(step string, all, client time.Duration) {
		t.Helper()
		if gotAll, gotClient := s.longest(); gotAll != all || gotClient != client {
			t.Errorf("%s: longest() = %d, %d; want %d, %d", step, gotAll, gotClient, all, client)
		}
	}
	s.sent(0, 10)
	s.answered(0, 10, 110, false)
	want("only what is measured counts", 10, 10)
	s.sent(1, 200)
	s.sent(0, 210)
	s.answered(0, 210, 230, false)
	s.sent(0, 240)
	s.answered(0, 240, 260, false)
	s.answered(1, 200, 280, false)
	want("a client that waits longer than all", 30, 80)
	s.sent(0, 500)
	s.answered(0, 500, 505, false)
	want("nothing waits between an answer and the next send", 30, 80)

	s.Mark()
	s.sent(1, 600)
	s.sent(0, 610)
	s.answered(0, 610, 640, true)
	now = 700
	want("a send that is given up ends nothing", 100, 100)
	if all, clients := s.SinceMark(); all != 100 || !slices.Equal(clients, []time.Duration{0, 100}) {
		t.Errorf("SinceMark() = %d, %v; want 100, [0 100]", all, clients)
	}
	s.answered(1, 600, 720, false)
	s.Mark()
	if all, clients := s.SinceMark(); all != 0 || !slices.Equal(clients, []time.Duration{0, 0}) {
		t.Errorf("SinceMark() after a mark = %d, %v; want nothing", all, clients)
	}
	now = 850
	s.sent(1, 840)
	s.Expect()
	s.answered(1, 840, 860, false)
	if got := s.Unanswered(); !slices.Equal(got, []int{0, 1}) {
		t.Errorf("Unanswered() = %v, want both: client 1 got an answer to what it had sent before", got)
	}
	s.sent(0, 900)
	now = 2000
	want("what lasts counts to the end of what is measured", 120, 120)
	s.answered(0, 900, 3000, false)
	want("what lasted counts to the end of what is measured", 120, 120)
	if all, _ := s.SinceMark(); all != 2100 {
		t.Errorf("SinceMark() = %d, want 2100: from before the end of what is measured", all)
	}
	if got := s.Unanswered(); !slices.Equal(got, []int{1}) {
		t.Errorf("Unanswered() = %v, want client 1", got)
	}
}
