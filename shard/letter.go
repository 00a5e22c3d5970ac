package shard

import "fmt"

// AppendLetter encodes a letter: kind, from, to, number, seq, time; for a
// membership also by; for a message also id, cid, ttl, mentions, body.
func AppendLetter(b []byte, l *Letter) []byte {
	b = append(b, byte(l.Kind))
	b = appendBytes(b, l.From)
	b = appendBytes(b, l.To)
	b = appendUint(b, l.Number)
	b = appendUint(b, l.Seq)
	b = appendInt(b, l.Time)
	switch l.Kind {
	case LetterMessage:
	case LetterJoined:
		return appendBytes(b, l.By)
	default:
		return b
	}
	b = append(b, l.ID[:]...)
	b = appendBytes(b, l.CID)
	b = appendUint(b, uint64(l.TTL))
	b = appendMentions(b, l.Mentions)
	return appendBytes(b, l.Body)
}

// DecodeLetter reads what AppendLetter wrote. The body aliases b.
func DecodeLetter(b []byte) (Letter, error) {
	d := decoder{b: b}
	var l Letter
	d.letter(&l)
	if err := d.end(); err != nil {
		return Letter{}, fmt.Errorf("shard: letter: %w", err)
	}
	return l, nil
}

func (d *decoder) letter(l *Letter) {
	*l = Letter{Kind: LetterKind(d.byte())}
	var group bool
	l.From, group = d.key()
	l.To, l.Number, l.Seq, l.Time = d.user(), d.uint(), d.uint(), d.int()
	if l.Kind < LetterMessage || l.Kind > LetterLeft || l.Number == 0 || group != (l.Kind >= LetterJoined) {
		d.fail(errMalformed)
	}
	switch l.Kind {
	case LetterMessage:
	case LetterJoined:
		l.By = d.user()
		return
	default:
		return
	}
	l.ID, l.CID = d.id(), d.text(MaxName)
	l.TTL, l.Mentions, l.Body = uint32(d.uintMax(1<<32-1)), d.mentions(), d.body()
}
