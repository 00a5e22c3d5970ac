package peer

import (
	"fmt"
	"time"

	"github.com/belfry-im/belfry/shard/codec"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// MaxQueries bounds the queries of one request.
const MaxQueries = 1 << 16

// maxAge bounds the age of a login, ms: longer than anything waits.
const maxAge = 60 * 60 * 1000

// AppendQueries appends the questions of queries.
func AppendQueries(dst []byte, queries []query.Query) []byte {
	dst = codec.AppendUint(dst, uint64(len(queries)))
	for _, q := range queries {
		dst = appendItem(dst, func(dst []byte) []byte { return query.AppendQuery(dst, q) })
	}
	return dst
}

// DecodeQueries returns the queries that AppendQueries has appended. They alias b.
func DecodeQueries(b []byte) ([]query.Query, error) {
	d := codec.Decoder{B: b}
	queries := make([]query.Query, d.CountMax(1, MaxQueries))
	for i := range queries {
		item := d.Bytes()
		if d.Err != nil {
			break
		}
		q, err := query.DecodeQuery(item)
		if err != nil {
			return nil, err
		}
		queries[i] = q
	}
	if d.Err != nil {
		return nil, fmt.Errorf("peer: queries: %w", d.Err)
	}
	return queries, nil
}

// AppendAnswers appends the answers of queries, none of which was refused.
func AppendAnswers(dst []byte, queries []query.Query) []byte {
	for _, q := range queries {
		dst = appendItem(dst, func(dst []byte) []byte { return query.AppendAnswer(dst, q, nil) })
	}
	return dst
}

// DecodeAnswers fills in the answers of queries. They alias b.
func DecodeAnswers(b []byte, queries []query.Query) error {
	d := codec.Decoder{B: b}
	for _, q := range queries {
		item := d.Bytes()
		if d.Err != nil {
			break
		}
		if err := query.DecodeAnswer(item, q); err != nil {
			return err
		}
	}
	if d.Err != nil {
		return fmt.Errorf("peer: answers: %w", d.Err)
	}
	return nil
}

// AppendResult appends the result of a command.
func AppendResult(dst []byte, r *command.Result) []byte {
	x := codec.NewWriter(dst)
	r.Fields(&x)
	return x.B
}

// DecodeResult reads what AppendResult has appended.
func DecodeResult(b []byte) (r command.Result, err error) {
	x := codec.NewReader(b)
	r.Fields(&x)
	if x.Err != nil {
		return r, fmt.Errorf("peer: result: %w", x.Err)
	}
	return r, nil
}

// A LoginBody is the body of a Login.
type LoginBody struct {
	Recents query.RecentsMode
	// Age is how long ago the client asked, ms: 0 to an hour, others are written as the
	// nearer of the two.
	Age     time.Duration
	Counted bool   // a leader had it before: it does not count against the rate of logins any more
	Command []byte // encoded
}

// Append appends l.
func (l LoginBody) Append(dst []byte) []byte {
	x := codec.NewWriter(dst)
	l.head(&x)
	return append(x.B, l.Command...)
}

// DecodeLogin reads what LoginBody.Append has appended. The command aliases b.
func DecodeLogin(b []byte) (l LoginBody, err error) {
	x := codec.NewReader(b)
	l.head(&x)
	if x.Err != nil {
		return l, fmt.Errorf("peer: login: %w", x.Err)
	}
	l.Command = x.B
	return l, nil
}

// head writes or reads all but the command.
func (l *LoginBody) head(x *codec.Coder) {
	codec.Enum(x, &l.Recents, query.RecentsOn, query.RecentsOff)
	ms := uint64(min(max(0, l.Age.Milliseconds()), maxAge))
	codec.UintMax(x, &ms, maxAge)
	l.Age = time.Duration(ms) * time.Millisecond
	codec.Bool(x, &l.Counted)
}

// AppendSync appends what a login returns.
func AppendSync(dst []byte, sync *query.Sync) []byte {
	x := codec.NewWriter(dst)
	sync.Fields(&x)
	return x.B
}

// DecodeSync reads what AppendSync has appended.
func DecodeSync(b []byte) (*query.Sync, error) {
	x := codec.NewReader(b)
	sync := new(query.Sync)
	sync.Fields(&x)
	if x.Err != nil {
		return nil, fmt.Errorf("peer: sync: %w", x.Err)
	}
	return sync, nil
}
