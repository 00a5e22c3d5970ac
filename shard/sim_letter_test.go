package shard_test

import (
	"slices"

	"github.com/belfry-im/belfry/shard"
	"github.com/belfry-im/belfry/shard/command"
)

// deliverSome takes letters from the wire, in any order, some of them twice.
func (w *world) deliverSome() {
	for range 1 + w.rng.IntN(4) {
		if len(w.mail) == 0 {
			return
		}
		i := 0
		if w.chance(25) {
			i = w.rng.IntN(len(w.mail))
		}
		encoded := w.mail[i]
		if !w.chance(10) {
			w.mail = slices.Delete(w.mail, i, i+1)
		}
		letter, err := command.DecodeLetter(encoded)
		if err != nil {
			w.failf("DecodeLetter: %v", err)
		}
		if w.chance(50) && w.model.late(&letter, w.clock) {
			letter.Body = nil // who carries letters need not carry what nobody will see
		}
		w.send(&command.Deliver{Letter: letter}, func(r *command.Result) {
			switch {
			case r.Code == command.OK:
				w.trims = append(w.trims, command.TrimOutbox{From: letter.From, To: letter.To, UpTo: letter.Number})
			case r.Code == command.CodeGap && w.chance(10):
				w.resendFrom(letter.From, letter.To, r.Seq)
			}
		})
	}
}

// late reports whether a message has expired by a clock.
func (m *model) late(l *command.Letter, now int64) bool {
	e := modelEntry{time: l.Time, ttl: l.TTL}
	return l.Kind == command.LetterMessage && e.expired(&m.shards[0].limits, now)
}

// cutWire loses what is under way if that is much; all that waits in a shard is
// then sent again, as a new leader does.
func (w *world) cutWire() {
	if len(w.mail) > 200 {
		w.mail = w.mail[100:]
	}
	w.resend(pick(w, w.shards))
}

func (w *world) resend(sh *simShard) {
	sh.leader.Letters(func(p shard.Posted) bool {
		w.mail = append(w.mail, p.Bytes)
		return true
	})
}

// resendFrom answers a gap: the letters of one direction from a number on.
func (w *world) resendFrom(from, to command.UserID, number uint64) {
	w.shardOf(from).leader.Letters(func(p shard.Posted) bool {
		if p.From == from && p.To == to && p.Number >= number {
			w.mail = append(w.mail, p.Bytes)
		}
		return true
	})
}

// trim confirms letters late, in any order, some of them never.
func (w *world) trim() {
	if len(w.trims) == 0 {
		return
	}
	i := w.rng.IntN(len(w.trims))
	t := w.trims[i]
	w.trims = slices.Delete(w.trims, i, i+1)
	if len(w.trims) > 100 {
		w.trims = w.trims[50:]
	}
	w.send(&t, nil)
}
