package command

import "fmt"

// AppendLetter encodes a letter: kind, from, to, number, seq, time; of a membership
// also by; of a message also id, cid, ttl, mentions, body.
func AppendLetter(b []byte, l *Letter) []byte {
	b = append(b, byte(l.Kind))
	b = AppendBytes(b, l.From)
	b = AppendBytes(b, l.To)
	b = AppendUint(b, l.Number)
	b = AppendUint(b, l.Seq)
	b = AppendInt(b, l.Time)
	switch l.Kind {
	case LetterMessage:
	case LetterJoined:
		return AppendBytes(b, l.By)
	default:
		return b
	}
	b = append(b, l.ID[:]...)
	b = AppendBytes(b, l.CID)
	b = AppendUint(b, uint64(l.TTL))
	b = appendMentions(b, l.Mentions)
	return AppendBytes(b, l.Body)
}

// DecodeLetter decodes a letter. The body aliases b.
func DecodeLetter(b []byte) (Letter, error) {
	d := Decoder{B: b}
	var l Letter
	d.letter(&l)
	if err := d.End(); err != nil {
		return Letter{}, fmt.Errorf("shard: letter: %w", err)
	}
	return l, nil
}
