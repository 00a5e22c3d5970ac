package raftstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
	"github.com/cespare/xxhash/v2"
)

const (
	// importRows and importBytes bound the rows that an import holds at a time.
	importRows  = command.MaxImportRows
	importBytes = 1 << 20
	// importReads is how many conversations are read under one lock of a shard.
	importReads = 512
)

// Import stores rows, oldest first, in conversations that hold no messages but those
// of the same stream. It holds some thousand rows in memory. One import runs at a
// time; others wait.
//
// The result counts the rows that were handled, even if there is an error: an
// *ImportError, an error of the iterator, or one of a command. A row that comes again
// under its number in the stream changes nothing, so that a failed request can be
// repeated as it was, or continued behind the rows that the result counts. After an
// *ImportError some of the rows behind the refused one may be stored.
func (s *Store) Import(ctx context.Context, req store.ImportRequest, rows iter.Seq2[store.ImportRow, error]) (store.ImportResult, error) {
	im := importer{store: s, req: req, stream: streamOf(req.Stream), views: make(map[importKey]*importView)}
	if n := len(req.Stream); n == 0 || n > command.MaxName {
		return im.result, &command.RefusedError{Code: command.CodeBadRequest, Detail: "stream: must have 1-64 bytes"}
	}
	select {
	case s.importing <- struct{}{}:
		defer func() { <-s.importing }()
	case <-ctx.Done():
		return im.result, ctx.Err()
	}
	for row, err := range rows {
		if err == nil {
			err = im.add(row)
		}
		if err != nil {
			return im.result, firstOf(im.flush(ctx), err)
		}
		if len(im.rows) == importRows || len(im.bodies) >= importBytes {
			if err := im.flush(ctx); err != nil {
				return im.result, err
			}
		}
	}
	return im.result, im.flush(ctx)
}

// streamOf returns the number that stands for a stream in the shards.
func streamOf(name string) uint64 { return xxhash.Sum64String(name) }

// An importer stores the rows of one request, in chunks: it reads the state of all
// logs of a chunk, decides about each row in the logs of sender and receiver, and
// commits that before it begins the next chunk.
type importer struct {
	store  *Store
	req    store.ImportRequest
	stream uint64
	result store.ImportResult
	lines  uint64 // rows before those of the chunk

	rows   []store.ImportRow
	bodies []byte // of rows
	views  map[importKey]*importView
	order  []*importView // in order of their first row
}

// An importKey names a log: a user's view of a conversation, or a group's.
type importKey struct {
	user  command.UserID // or the key of a group
	peer  command.UserID // "" of a group
	group command.GroupID
}

type importView struct {
	key   importKey
	state query.ImportStatus
	code  command.Code // OK unless a group cannot take messages
	now   int64
	last  int64  // time of the newest row so far
	next  uint64 // seq of the first of rows
	rows  []command.ImportRow
}

// A rowFate is what becomes of a row in one log.
type rowFate uint8

const (
	rowStored rowFate = iota
	rowKnown
	rowExpired
)

// add checks a row and adds it to the chunk, with an ID and a CID if it has none.
func (im *importer) add(row store.ImportRow) error {
	line := im.lines + uint64(len(im.rows)) + 1
	bad := func(field, message string) error {
		return &store.ImportError{Line: line, Field: field, Code: command.CodeBadRequest, Message: message}
	}
	switch n := len(row.From); {
	case n == 0 || n > command.MaxName:
		return bad("from", "must have 1-64 bytes")
	case (row.To == "") == (row.Group == ""):
		return bad("to", "either this or group must be set")
	case len(row.To) > command.MaxName:
		return bad("to", "must have 1-64 bytes")
	case len(row.CID) > command.MaxName:
		return bad("cid", "must have at most 64 bytes")
	case len(row.Body) == 0:
		return bad("body", "must not be empty")
	case row.Time < 0:
		return bad("time", "must not be negative")
	}
	number := im.req.Offset + line
	if row.ID == (command.MsgID{}) {
		row.ID = im.id(number, row.Time)
	}
	if row.CID == "" {
		row.CID = fmt.Sprintf("import-%d", number)
	}
	start := len(im.bodies)
	im.bodies = append(im.bodies, row.Body...)
	row.Body = im.bodies[start:len(im.bodies):len(im.bodies)]
	im.rows = append(im.rows, row)
	return nil
}

// id makes the id of a row that has none: as in any id, six bytes of time and ten that
// no other message has. The same row gets the same id again.
func (im *importer) id(number uint64, at int64) (id command.MsgID) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(at))
	copy(id[:6], b[2:])
	binary.BigEndian.PutUint64(b[:], number)
	h := xxhash.NewWithSeed(im.stream)
	h.Write(b[:])
	binary.BigEndian.PutUint64(id[6:], h.Sum64())
	copy(id[14:], b[6:])
	return id
}

// flush stores the chunk.
func (im *importer) flush(ctx context.Context) error {
	if len(im.rows) == 0 {
		return nil
	}
	defer im.reset()
	var rows store.ImportResult
	var refusal error
	for try := 1; ; try++ {
		if err := im.readViews(ctx); err != nil {
			return err
		}
		rows, refusal = im.plan()
		err := im.commit(ctx)
		if err == nil {
			break
		}
		if !errors.Is(err, errPlannedWrong) {
			return err
		}
		if try == importPlans {
			return &store.ImportError{
				Line: im.lines + 1, Field: "conv", Code: command.CodeConflict,
				Message: "a conversation changes while it is imported: perhaps by an import elsewhere",
			}
		}
		im.forgetPlan()
	}
	im.result.Rows += rows.Rows
	im.result.Stored += rows.Stored
	im.result.Known += rows.Known
	im.result.Expired += rows.Expired
	return refusal
}

func (im *importer) reset() {
	im.lines += uint64(len(im.rows))
	clear(im.rows)
	im.rows, im.bodies = im.rows[:0], im.bodies[:0]
	im.forgetPlan()
}

// forgetPlan forgets what the logs were to take.
func (im *importer) forgetPlan() {
	clear(im.order)
	clear(im.views)
	im.order = im.order[:0]
}

func (im *importer) view(key importKey) *importView {
	v := im.views[key]
	if v == nil {
		v = &importView{key: key}
		im.views[key] = v
		im.order = append(im.order, v)
	}
	return v
}

// sidesOf returns the logs that a row belongs in: the sender's view, and the
// receiver's unless that is the same. A group has one log.
func sidesOf(row *store.ImportRow) (sender, receiver importKey) {
	if row.Group != "" {
		key := importKey{user: row.Group.Key(), group: row.Group}
		return key, key
	}
	return importKey{user: row.From, peer: row.To}, importKey{user: row.To, peer: row.From}
}

// readViews reads the state of all logs of the chunk.
func (im *importer) readViews(ctx context.Context) error {
	byShard := make(map[*shardRef][]*importView)
	for i := range im.rows {
		sender, receiver := sidesOf(&im.rows[i])
		im.view(sender)
		im.view(receiver)
	}
	for _, v := range im.order {
		sh := im.store.shardOf(v.key.user)
		byShard[sh] = append(byShard[sh], v)
	}
	for sh, views := range byShard {
		for some := range slices.Chunk(views, importReads) {
			queries := make([]query.Query, len(some))
			states := make([]query.ImportState, len(some))
			for i, v := range some {
				states[i] = query.ImportState{User: v.key.user, Peer: v.key.peer, Group: v.key.group, Stream: im.stream}
				queries[i] = &states[i]
			}
			if err := im.look(ctx, sh, queries); err != nil {
				return err
			}
			for i, v := range some {
				q := &states[i]
				v.now, v.state, v.code, v.last = q.Now, q.Status, q.Code, q.Status.LastTime
				v.next = q.Status.Next
			}
		}
	}
	return nil
}

// look reads from the leader of a shard. In a cluster its memory is not enough: a leader
// that was frozen shows the past, and rows would be planned with seqs that others have.
func (im *importer) look(ctx context.Context, sh *shardRef, queries []query.Query) error {
	if im.store.cluster == nil {
		return sh.read(queries...)
	}
	return sh.readCommitted(ctx, queries...)
}

// plan decides what becomes of the rows, up to the first that has to be refused. It
// returns the counts of the rows before that one, and the refusal.
func (im *importer) plan() (done store.ImportResult, refusal error) {
	for i := range im.rows {
		row := &im.rows[i]
		line := im.lines + uint64(i) + 1
		number := im.req.Offset + line
		from, to := sidesOf(row)
		sender, receiver := im.views[from], im.views[to]
		if err := im.check(row, line, sender, receiver); err != nil {
			return done, err
		}
		entry := command.ImportRow{
			Row: number, Time: row.Time, TTL: row.TTL, ID: row.ID, CID: row.CID, Mentions: row.Mentions, Body: row.Body,
		}
		one := entry
		one.Own = true
		if row.Group != "" {
			one.From = row.From
		}
		seq, first := sender.accept(one)
		second := first
		if receiver != sender {
			if first == rowKnown && receiver.fateOf(&entry) == rowStored {
				seq = im.seqOf(from, row.ID)
			}
			entry.Peer = seq
			_, second = receiver.accept(entry)
		}
		done.Rows++
		switch {
		case first == rowStored || second == rowStored:
			done.Stored++
		case first == rowKnown || second == rowKnown:
			done.Known++
		default:
			done.Expired++
		}
	}
	return done, nil
}

// check returns an *ImportError for a row that one of its logs cannot take.
func (im *importer) check(row *store.ImportRow, line uint64, sides ...*importView) error {
	for _, v := range sides {
		refuse := func(field string, code command.Code, message string) error {
			return &store.ImportError{Line: line, Field: field, Code: code, Message: message}
		}
		number := im.req.Offset + line
		switch {
		case v.code == command.CodeNotFound:
			return refuse("group", v.code, "does not exist")
		case v.code != command.OK:
			return refuse("group", v.code, "a live group stores no messages")
		case number <= v.state.Row:
		case row.Time > v.now:
			return refuse("time", command.CodeBadRequest, "must not be in the future")
		case row.Time < v.last:
			return refuse("time", command.CodeBadRequest, "must not fall within a conversation")
		case !v.state.AcceptsRows && v.fateOf(&command.ImportRow{Row: number, Time: row.Time, TTL: row.TTL}) == rowStored:
			return refuse("conv", command.CodeConflict, "holds messages that were not imported by this stream")
		}
	}
	return nil
}

// fateOf returns what becomes of a row in this log.
func (v *importView) fateOf(row *command.ImportRow) rowFate {
	switch {
	case row.Row <= v.state.Row:
		return rowKnown
	case row.Time+v.state.HistoryTTL.Milliseconds() <= v.now, row.TTL != 0 && row.Time+int64(row.TTL)*1000 <= v.now,
		row.Time <= v.state.Cutoff:
		return rowExpired
	}
	return rowStored
}

// accept adds a row to those that the log is to store, unless it is known or has
// expired. It returns the seq that a stored row will have.
func (v *importView) accept(row command.ImportRow) (seq uint64, f rowFate) {
	f = v.fateOf(&row)
	if f == rowKnown {
		return 0, f
	}
	v.last = max(v.last, row.Time)
	if f == rowExpired {
		return 0, f
	}
	v.rows = append(v.rows, row)
	seq = v.state.Next
	v.state.Next++
	return seq, f
}

// seqOf returns the seq of a row that an earlier request stored on one side only, or 0
// if it is no longer held there or cannot be found now.
func (im *importer) seqOf(key importKey, id command.MsgID) uint64 {
	q := query.SeqOf{User: key.user, Peer: key.peer, ID: id}
	if err := im.store.read(&q); err != nil {
		return 0
	}
	return q.Seq
}

// commit submits the rows of all logs and waits for the outcomes.
func (im *importer) commit(ctx context.Context) error {
	answers := make(chan error, len(im.order))
	sent := 0
	for _, v := range im.order {
		if len(v.rows) == 0 {
			continue
		}
		sent++
		im.store.Submit(im.command(v), func(r command.Result, err error) {
			if err == nil {
				err = im.refusal(&r)
			}
			answers <- err
		})
	}
	var first error
	for range sent {
		select {
		case err := <-answers:
			first = firstOf(first, err)
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", store.ErrUnknown, ctx.Err())
		}
	}
	return first
}

// refusal returns the error of a result: an *ImportError if the log refused a row that
// check had passed.
func (im *importer) refusal(r *command.Result) error {
	if r.Code == command.CodeGap {
		return errPlannedWrong
	}
	if r.Code == command.OK || r.Seq == 0 {
		return r.Err()
	}
	field, message, _ := strings.Cut(r.Detail, ": ")
	return &store.ImportError{Line: r.Seq - im.req.Offset, Field: field, Code: r.Code, Message: message}
}

func (im *importer) command(v *importView) command.Command {
	if v.key.group != "" {
		return &command.ImportGroup{Group: v.key.group, Stream: im.stream, Unread: im.req.Unread, Next: v.next, Rows: v.rows}
	}
	return &command.Import{User: v.key.user, Peer: v.key.peer, Stream: im.stream, Unread: im.req.Unread, Next: v.next, Rows: v.rows}
}

// errPlannedWrong means that a log has changed since its rows were planned, so that they
// would have got other seqs.
var errPlannedWrong = errors.New("raftstore: a conversation has changed since its import was planned")

// importPlans is how often a chunk is planned before the import gives up.
const importPlans = 4

// firstOf returns one of two errors: a failure rather than an *ImportError, and of two
// of those the one with the lower line.
func firstOf(a, b error) error {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	x, refused := errors.AsType[*store.ImportError](a)
	if !refused {
		return a
	}
	if y, refused := errors.AsType[*store.ImportError](b); refused && x.Line < y.Line {
		return a
	}
	return b
}
