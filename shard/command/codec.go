package command

import (
	"bytes"
	"encoding/binary"
	"errors"
	"unicode/utf8"
)

func (d *Decoder) mentions() []string {
	n := d.Count(1)
	if n == 0 {
		return nil
	}
	if n > MaxMentions {
		d.Fail(ErrMalformed)
		return nil
	}
	if d.checkOnly {
		for range n {
			d.Text(MaxName)
		}
		return nil
	}
	mentions := make([]string, n)
	for i := range mentions {
		mentions[i] = d.Text(MaxName)
	}
	return mentions
}

func (d *Decoder) body() []byte {
	v := d.Bytes()
	if len(v) > MaxBody {
		d.Fail(ErrMalformed)
	}
	return v
}

func (d *Decoder) Request() Request { return Request{ID: d.Uint(), Hash: d.Uint()} }

// seqs appends a list to dst, which is kept for the next command.
func (d *Decoder) seqs(dst []uint64) []uint64 {
	n := d.Count(1)
	if n > MaxSeqs {
		d.Fail(ErrMalformed)
		return dst
	}
	for range n {
		dst = append(dst, d.Uint())
	}
	return dst
}

func (d *Decoder) optional() *bool {
	switch d.Byte() {
	case 0:
		return nil
	case 1:
		return new(bool)
	case 2:
		return new(true)
	}
	d.Fail(ErrMalformed)
	return nil
}

func (d *Decoder) Slot() uint16 { return uint16(d.UintMax(Slots - 1)) }

func (d *Decoder) Limits() Limits {
	var l Limits
	for _, v := range l.fields() {
		v.set(d.Int())
	}
	return l
}

// errTruncated and errMalformed are wrapped with what was being decoded.
var (
	errTruncated = errors.New("truncated")
	ErrMalformed = errors.New("malformed")
)

func AppendUint(b []byte, v uint64) []byte { return binary.AppendUvarint(b, v) }

// AppendInt takes values that are never negative in practice (times, counts)
// but must survive being so.
func AppendInt(b []byte, v int64) []byte { return binary.AppendVarint(b, v) }

func AppendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

func AppendBytes[T ~string | ~[]byte](b []byte, v T) []byte {
	return append(AppendUint(b, uint64(len(v))), v...)
}

// A Decoder reads the encodings above. The first error sticks; later reads
// give zero values. Byte slices alias the input.
type Decoder struct {
	B   []byte
	Err error
	// check has strings and lists checked and left empty, so that finding out
	// whether something decodes allocates nothing.
	checkOnly bool
}

func (d *Decoder) Fail(err error) {
	if d.Err == nil {
		d.Err = err
	}
	d.B = nil
}

func (d *Decoder) Uint() uint64 {
	v, n := binary.Uvarint(d.B)
	if n <= 0 {
		d.Fail(errTruncated)
		return 0
	}
	d.B = d.B[n:]
	return v
}

func (d *Decoder) Int() int64 {
	v, n := binary.Varint(d.B)
	if n <= 0 {
		d.Fail(errTruncated)
		return 0
	}
	d.B = d.B[n:]
	return v
}

// UintMax reads an integer of at most limit.
func (d *Decoder) UintMax(limit uint64) uint64 {
	v := d.Uint()
	if v > limit {
		d.Fail(ErrMalformed)
		return 0
	}
	return v
}

func (d *Decoder) Byte() byte {
	if len(d.B) == 0 {
		d.Fail(errTruncated)
		return 0
	}
	v := d.B[0]
	d.B = d.B[1:]
	return v
}

func (d *Decoder) Bool() bool {
	v := d.Byte()
	if v > 1 {
		d.Fail(ErrMalformed)
	}
	return v == 1
}

func (d *Decoder) Raw(n uint64) []byte {
	if n > uint64(len(d.B)) {
		d.Fail(errTruncated)
		return nil
	}
	v := d.B[:n:n]
	d.B = d.B[n:]
	return v
}

func (d *Decoder) Bytes() []byte { return d.Raw(d.Uint()) }

// Text reads a UTF-8 string of at most limit bytes.
func (d *Decoder) Text(limit int) string {
	v := d.Bytes()
	if len(v) > limit || !utf8.Valid(v) {
		d.Fail(ErrMalformed)
		return ""
	}
	if d.checkOnly {
		return ""
	}
	return string(v)
}

// Count reads the length of a list whose elements take at least size bytes
// each, so that a caller may allocate for it.
func (d *Decoder) Count(size int) int {
	n := d.Uint()
	if n > uint64(len(d.B)/size) {
		d.Fail(errTruncated)
		return 0
	}
	return int(n)
}

// Key reads the name of a user, or the key of a group, which no user has.
func (d *Decoder) Key() (name UserID, group bool) {
	v := d.Bytes()
	group = bytes.HasPrefix(v, []byte(GroupPrefix))
	if len(v) > MaxName || !utf8.Valid(v) || group && len(v) == len(GroupPrefix) {
		d.Fail(ErrMalformed)
		return "", false
	}
	if !d.checkOnly {
		name = UserID(v)
	}
	return name, group
}

func (d *Decoder) User() UserID {
	name, group := d.Key()
	if group {
		d.Fail(ErrMalformed)
	}
	return name
}

func (d *Decoder) ID() (id MsgID) {
	copy(id[:], d.Raw(uint64(len(id))))
	return id
}

// End reports the first error, or that bytes were left over.
func (d *Decoder) End() error {
	if d.Err == nil && len(d.B) > 0 {
		d.Fail(ErrMalformed)
	}
	return d.Err
}

func (d *Decoder) Group() GroupID { return GroupID(d.Text(MaxGroup)) }

func (d *Decoder) Users() []UserID {
	n := d.Count(1)
	if n > MaxUsers {
		d.Fail(ErrMalformed)
		return nil
	}
	if n == 0 || d.checkOnly {
		for range n {
			d.User()
		}
		return nil
	}
	users := make([]UserID, n)
	for i := range users {
		users[i] = d.User()
	}
	return users
}

func (d *Decoder) Blob(limit int) []byte {
	if !d.Bool() {
		return nil
	}
	v := d.Bytes()
	if len(v) > limit {
		d.Fail(ErrMalformed)
	}
	if v == nil {
		v = []byte{}
	}
	return v
}

func (d *Decoder) Settings() GroupSettings {
	v := GroupSettings{
		MaxMembers: int(d.UintMax(1 << 31)), Join: JoinMode(d.Byte()), History: GroupHistory(d.Byte()),
		Unread: d.Bool(), Stored: d.Bool(), MutedAll: d.Bool(),
	}
	if v.Join < JoinByInvitation || v.Join > JoinOpen || v.History < HistorySinceJoin || v.History > HistoryNone {
		d.Fail(ErrMalformed)
	}
	return v
}

func (d *Decoder) settingsChange() (c SettingsChange) {
	if d.Bool() {
		most := int(d.UintMax(1 << 31))
		if !d.checkOnly {
			c.MaxMembers = &most
		}
	}
	c.Join, c.History = JoinMode(d.Byte()), GroupHistory(d.Byte())
	c.Unread, c.MutedAll = d.optional(), d.optional()
	if c.Join > JoinOpen || c.History > HistoryNone {
		d.Fail(ErrMalformed)
	}
	return c
}

func (d *Decoder) GroupKind() GroupKind {
	k := GroupKind(d.Byte())
	if k < GroupPrivate || k > GroupLive {
		d.Fail(ErrMalformed)
	}
	return k
}

// CountAtMost is count for a list that is never longer than most.
func (d *Decoder) CountAtMost(size, most int) int {
	n := d.Count(size)
	if n > most {
		d.Fail(ErrMalformed)
		return 0
	}
	return n
}

func (d *Decoder) letter(l *Letter) {
	*l = Letter{Kind: LetterKind(d.Byte())}
	var group bool
	l.From, group = d.Key()
	l.To, l.Number, l.Seq, l.Time = d.User(), d.Uint(), d.Uint(), d.Int()
	if l.Kind < LetterMessage || l.Kind > LetterLeft || l.Number == 0 || group != (l.Kind >= LetterJoined) {
		d.Fail(ErrMalformed)
	}
	switch l.Kind {
	case LetterMessage:
	case LetterJoined:
		l.By = d.User()
		return
	default:
		return
	}
	l.ID, l.CID = d.ID(), d.Text(MaxName)
	l.TTL, l.Mentions, l.Body = uint32(d.UintMax(1<<32-1)), d.mentions(), d.body()
}

func (d *Decoder) optionalInt() *int64 {
	if !d.Bool() {
		return nil
	}
	v := d.Int()
	if d.checkOnly {
		return nil
	}
	return &v
}

// importRows appends a list to dst, which is kept for the next command.
func (d *Decoder) importRows(dst []ImportRow) []ImportRow {
	const least = 25 // bytes of a row
	n := d.Count(least)
	if n > MaxImportRows {
		d.Fail(ErrMalformed)
		return dst
	}
	for range n {
		r := ImportRow{
			Row: d.Uint(), From: d.User(), Own: d.Bool(), Peer: d.Uint(), Time: d.Int(),
			TTL: uint32(d.UintMax(1<<32 - 1)), ID: d.ID(), CID: d.Text(MaxName), Mentions: d.mentions(), Body: d.body(),
		}
		if !d.checkOnly {
			dst = append(dst, r)
		}
	}
	return dst
}
