package store

import "github.com/belfry-im/belfry/gateway/protocol"

// A Kind says what is known of the seqs of a run.
type Kind uint8

const (
	Unknown Kind = iota // nothing; never stored
	Held                // their messages are in the store
	Expired             // the others are reasons why there is no message
	Evicted
	Deleted
	Recalled
	NotMember
	Lost // limits took it from the offline queue; history may still have it
)

// Reasons in the gaps of a page that no server gives.
const (
	ReasonUnknown = "unknown" // it was never asked for
	ReasonLost    = "lost"    // see Lost
)

var reasons = [...]string{
	Unknown: ReasonUnknown, Held: "", Lost: ReasonLost,
	Expired: protocol.GapExpired, Evicted: protocol.GapEvicted, Deleted: protocol.GapDeleted,
	Recalled: protocol.GapRecalled, NotMember: protocol.GapNotMember,
}

// kindOf returns the kind of a server's gap. A reason of a later server counts as evicted:
// the message is gone for good.
func kindOf(reason string) Kind {
	for k, r := range reasons {
		if r == reason && Kind(k) != Unknown && Kind(k) != Held {
			return Kind(k)
		}
	}
	return Evicted
}

// missing reports whether the server may still have a message.
func (k Kind) missing() bool { return k == Unknown || k == Lost }

// A Run is what is known of the seqs From..To, inclusive.
type Run struct {
	From, To uint64
	Kind     Kind
}

// maxSeq is the end of the last run of a conversation.
const maxSeq = 1<<63 - 1

// readRun decodes a run from its entry.
func (t *Tx) readRun(key, value []byte) Run {
	r := Run{From: lastNumber(key)}
	t.decode(value, &r)
	return r
}

// runAt returns the stored run that covers seq. If none does, it returns the Unknown
// run up to the next one, or to maxSeq. Its From is then seq.
func (t *Tx) runAt(conv protocol.Conv, seq uint64) Run {
	t.flushRun()
	for k, v := range t.kv.Scan(seqKey(keyRun, conv, 0), seqKey(keyRun, conv, seq+1), true) {
		if r := t.readRun(k, v); r.To >= seq {
			return r
		}
		break
	}
	r := Run{From: seq, To: maxSeq}
	for k := range t.kv.Scan(seqKey(keyRun, conv, seq), seqKey(keyRun, conv, maxSeq), false) {
		r.To = lastNumber(k) - 1
		break
	}
	return r
}

// runBelow is runAt for walks that descend: an Unknown run reaches down to the run
// before it, and its To is seq.
func (t *Tx) runBelow(conv protocol.Conv, seq uint64) Run {
	t.flushRun()
	r := Run{From: 1, To: seq}
	for k, v := range t.kv.Scan(seqKey(keyRun, conv, 0), seqKey(keyRun, conv, seq+1), true) {
		below := t.readRun(k, v)
		if below.To >= seq {
			return below
		}
		r.From = below.To + 1
		break
	}
	return r
}

// A growing run is one of messages that are received one after the other. It is written when
// something else is read or written.
type growing struct {
	conv     protocol.Conv
	from, to uint64 // 0, 0 = there is none
	free     uint64 // nothing is known of the seqs up to here
}

// kindFor returns the kind of a seq of which a message has come.
func (t *Tx) kindFor(conv protocol.Conv, seq uint64) Kind {
	if g := &t.growing; g.from > 0 && seq == g.to+1 && seq <= g.free && g.conv == conv {
		return Unknown
	}
	r := t.runAt(conv, seq)
	if r.Kind == Unknown {
		t.growing = growing{conv: conv, from: seq, to: seq - 1, free: r.To}
	}
	return r.Kind
}

// hold makes a seq Held, after kindFor of it.
func (t *Tx) hold(conv protocol.Conv, seq uint64) {
	if g := &t.growing; g.from > 0 && seq == g.to+1 && seq <= g.free && g.conv == conv {
		g.to = seq
		return
	}
	t.setRun(conv, seq, seq, Held)
}

func (t *Tx) flushRun() {
	g := t.growing
	t.growing = growing{}
	if g.from > 0 && g.from <= g.to {
		t.setRun(g.conv, g.from, g.to, Held)
	}
}

// setRun makes all of from..to one run of a kind, Unknown included, and joins it with
// neighbours of the same kind.
func (t *Tx) setRun(conv protocol.Conv, from, to uint64, kind Kind) {
	t.flushRun()
	left, right := Run{From: from, Kind: kind}, Run{To: to, Kind: kind}
	if from > 1 {
		if r := t.runAt(conv, from-1); r.Kind == kind && kind != Unknown && r.To >= to {
			return
		}
	}
	var gone [][]byte
	begin := max(from, 1) - 1
	if r := t.runBelow(conv, begin); r.Kind != Unknown {
		begin = r.From
	}
	for k, v := range t.kv.Scan(seqKey(keyRun, conv, begin), seqKey(keyRun, conv, to+2), false) {
		r := t.readRun(k, v)
		gone = append(gone, append([]byte{}, k...))
		if r.From < from {
			left = r
		}
		if r.To > to {
			right = r
		}
	}
	if t.err != nil {
		return
	}
	for _, k := range gone {
		t.kv.Delete(k)
	}
	if left.From < from && left.Kind == kind {
		from = left.From
	} else if left.From < from {
		t.putRun(conv, left.From, min(left.To, from-1), left.Kind)
	}
	if right.To > to && right.Kind == kind {
		to = right.To
	} else if right.To > to {
		t.putRun(conv, max(right.From, to+1), right.To, right.Kind)
	}
	t.putRun(conv, from, to, kind)
}

func (t *Tx) putRun(conv protocol.Conv, from, to uint64, kind Kind) {
	if kind != Unknown {
		t.set(seqKey(keyRun, conv, from), &Run{From: from, To: to, Kind: kind})
	}
}

// fill sets the seqs of from..to whose kind may be replaced to kind.
func (t *Tx) fill(conv protocol.Conv, from, to uint64, kind Kind, replaced func(Kind) bool) {
	for seq := from; seq <= to && t.err == nil; {
		r := t.runAt(conv, seq)
		end := min(r.To, to)
		if r.Kind != kind && replaced(r.Kind) {
			t.setRun(conv, seq, end, kind)
		}
		seq = end + 1
	}
}

// Runs returns what is known of a conversation, ascending, for tests and inspection.
func (t *Tx) Runs(conv protocol.Conv) []Run {
	t.flushRun()
	var runs []Run
	for k, v := range t.kv.Scan(seqKey(keyRun, conv, 0), seqKey(keyRun, conv, maxSeq), false) {
		runs = append(runs, t.readRun(k, v))
	}
	return runs
}
