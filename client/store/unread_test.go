package store

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// unreadModel is a group as the server has it, and as one member counts it.
type unreadModel struct {
	log   []protocol.Message // by seq - 1; Time 0 = gone
	base  uint64             // what lies at or below counts as read
	clock int64
}

// count returns the member's unread messages: the stored ones of others above the base.
func (m *unreadModel) count() (n uint64) {
	for i := range m.log {
		if l := &m.log[i]; l.Seq > m.base && l.From != "alice" && m.stored(l) {
			n++
		}
	}
	return n
}

func (m *unreadModel) stored(l *protocol.Message) bool {
	return l.Time != 0 && (l.TTL == 0 || end(l) > m.clock)
}

// page returns what the server has of from..to.
func (m *unreadModel) page(from, to uint64) *protocol.PageOK {
	p := &protocol.PageOK{From: from, To: to}
	for seq := from; seq <= to; seq++ {
		switch l := &m.log[seq-1]; {
		case m.stored(l):
			p.Messages = append(p.Messages, *l)
		case l.Time == 0:
			p.Gaps = append(p.Gaps, protocol.Gap{From: seq, To: seq, Reason: protocol.GapRecalled})
		default:
			p.Gaps = append(p.Gaps, protocol.Gap{From: seq, To: seq, Reason: protocol.GapExpired})
		}
	}
	return p
}

// TestUnreadOfWhatIsPartlyHeld compares the number of unread messages with the server's, while
// messages come, are missed, fetched, read, recalled, deleted and expire: it is never below,
// and equal when the store accounts for all that lies above the base, as it is after a sync.
func TestUnreadOfWhatIsPartlyHeld(t *testing.T) {
	team := protocol.GroupConv("team")
	var exact, partly int
	rapid.Check(t, func(t *rapid.T) {
		s, err := Open(Memory(), "host", "phone", nil)
		if err != nil {
			t.Fatal(err)
		}
		m := &unreadModel{clock: 1_796_000_000_000}
		update := func(f func(*Tx)) {
			if err := s.Update(func(tx *Tx) { tx.now = m.clock; f(tx) }); err != nil {
				t.Fatal(err)
			}
		}
		add := func() *protocol.Message {
			seq := uint64(len(m.log) + 1)
			l := protocol.Message{
				ID: protocol.ID{1, byte(seq)}, Conv: team, Seq: seq, Time: m.clock, Body: []byte{0xc0},
				From: rapid.SampledFrom([]string{"alice", "bob", "bob", "carol"}).Draw(t, "from"),
				TTL:  rapid.SampledFrom([]uint32{0, 0, 5}).Draw(t, "ttl"),
			}
			m.log = append(m.log, l)
			if l.From == "alice" {
				m.base = seq
			}
			return &m.log[seq-1]
		}
		pick := func(label string) uint64 { return rapid.Uint64Range(1, uint64(len(m.log))).Draw(t, label) }
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			step := rapid.SampledFrom([]string{"message", "message", "miss", "fetch", "read", "recall", "recall of one", "delete", "delete all", "wait"}).Draw(t, "step")
			if len(m.log) == 0 {
				step = "message"
			}
			switch step {
			case "message":
				l := add()
				update(func(tx *Tx) { tx.Sweep("alice"); tx.Receive(l, "alice", 1, true) })
			case "miss": // messages that this device was not pushed, and the login after them
				for range rapid.IntRange(1, 6).Draw(t, "missed") {
					add()
				}
				update(func(tx *Tx) {
					tx.Synced(&protocol.Synced{Groups: []protocol.Conversation{{
						Conv: team, LastSeq: uint64(len(m.log)), Time: m.clock, ReadSeq: m.base, Unread: int(m.count()),
					}}}, "alice", true)
				})
			case "fetch":
				from := pick("from")
				to := min(from+rapid.Uint64Range(0, 4).Draw(t, "more"), uint64(len(m.log)))
				update(func(tx *Tx) { tx.Sweep("alice"); tx.Covered(team, m.page(from, to), "alice", 1) })
			case "read":
				seq := pick("seq")
				m.base = max(m.base, seq)
				update(func(tx *Tx) { tx.Sweep("alice"); tx.Read(team, seq, "alice") })
			case "recall", "recall of one":
				from := pick("from")
				to := min(from+rapid.Uint64Range(0, 2).Draw(t, "more"), uint64(len(m.log)))
				r := &protocol.Recall{Conv: team, Ranges: []protocol.Range{{From: from, To: to}}}
				if step == "recall of one" {
					r.Sender = "bob"
				}
				for seq := from; seq <= to; seq++ {
					if l := &m.log[seq-1]; r.Sender == "" || l.From == r.Sender {
						l.Time = 0
					}
				}
				update(func(tx *Tx) { tx.Sweep("alice"); tx.Recall(r, "alice") })
			case "delete":
				seq := pick("seq")
				m.log[seq-1].Time = 0
				update(func(tx *Tx) { tx.Sweep("alice"); tx.DeleteMessages(team, []uint64{seq}, "alice") })
			case "delete all":
				seq, messages := pick("seq"), rapid.Bool().Draw(t, "messages")
				m.base = max(m.base, seq)
				update(func(tx *Tx) { tx.Sweep("alice"); tx.DeleteConversation(team, seq, messages, "alice") })
			case "wait":
				m.clock += rapid.Int64Range(1, 9000).Draw(t, "ms")
				update(func(tx *Tx) { tx.Sweep("alice") })
			}
			err := s.View(func(tx *Tx) {
				e, want := tx.Entry(team), m.count()
				missing := tx.missing(team, e.base()+1, e.End)
				if e.Unread < want || missing == 0 && e.Unread != want {
					t.Fatalf("after %s: unread %d, the server has %d; %d seqs are missing in %+v", step, e.Unread, want, missing, tx.Runs(team))
				}
				if missing == 0 {
					exact++
				} else {
					partly++
				}
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	})
	if exact == 0 || partly == 0 {
		t.Errorf("%d steps with all held, %d without, want both", exact, partly)
	}
}

// TestUnreadFallsByWhatHasGone: of 50 unread messages the newest 20 are held.
func TestUnreadFallsByWhatHasGone(t *testing.T) {
	team := protocol.GroupConv("team")
	for name, c := range map[string]struct {
		change func(*Tx)
		want   uint64
	}{
		"recall": {func(t *Tx) {
			t.Recall(&protocol.Recall{Conv: team, Ranges: []protocol.Range{{From: 40, To: 40}}}, "alice")
		}, 49},
		"recall of the unheld": {func(t *Tx) {
			t.Recall(&protocol.Recall{Conv: team, Ranges: []protocol.Range{{From: 10, To: 10}}}, "alice")
		}, 49},
		"deletion":             {func(t *Tx) { t.DeleteMessages(team, []uint64{31, 50}, "alice") }, 48},
		"report below":         {func(t *Tx) { t.Read(team, 10, "alice") }, 40},
		"report within":        {func(t *Tx) { t.Read(team, 45, "alice") }, 5},
		"report of all":        {func(t *Tx) { t.Read(team, 99, "alice") }, 0},
		"expiry":               {func(t *Tx) { t.now += 60_000; t.Sweep("alice") }, 49},
		"deleted conversation": {func(t *Tx) { t.DeleteConversation(team, 30, true, "alice") }, 20},
	} {
		s, err := Open(Memory(), "host", "phone", nil)
		if err != nil {
			t.Fatal(err)
		}
		var got uint64
		err = s.Update(func(tx *Tx) {
			for seq := uint64(31); seq <= 50; seq++ {
				m := &protocol.Message{ID: protocol.ID{byte(seq)}, Conv: team, Seq: seq, From: "bob", Time: tx.now, Body: []byte{0xc0}}
				if seq == 50 {
					m.TTL = 60
				}
				tx.Receive(m, "alice", 1, true)
			}
			tx.Synced(&protocol.Synced{Groups: []protocol.Conversation{{Conv: team, LastSeq: 50, Unread: 50}}}, "alice", true)
			c.change(tx)
			got = tx.Entry(team).Unread
		})
		if err != nil || got != c.want {
			t.Errorf("%s: unread %d, %v, want %d", name, got, err, c.want)
		}
	}
}
