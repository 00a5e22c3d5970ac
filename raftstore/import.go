package raftstore

import (
	"context"
	"fmt"
	"iter"

	"github.com/belfry-im/belfry/shard"
)

// An ImportRow is a message of another system. Either Group or To is set.
type ImportRow struct {
	From     shard.UserID
	To       shard.UserID
	Group    shard.GroupID
	Time     int64       // ms
	TTL      uint32      // seconds, 0 = none
	ID       shard.MsgID // zero: made from the stream and the row's number
	CID      string      // empty: the text of ID
	Mentions []string
	Body     []byte // canonical msgpack, good until the next row is asked for
}

// An ImportRequest says what its rows are part of.
type ImportRequest struct {
	Stream string // 1-64 bytes
	Offset uint64 // rows of the stream before these
	Unread bool   // rows are unread by their receivers; else all is read
}

// An ImportResult counts rows.
type ImportResult struct {
	Rows    uint64 // taken, the sum of the others
	Stored  uint64
	Known   uint64 // that an earlier request had stored
	Expired uint64 // too old to be kept; they take no seq
}

// An ImportError names the row that ended an import.
type ImportError struct {
	Line    uint64     // of the request, from 1
	Field   string     // of the row, as in its JSON
	Code    shard.Code // CodeBadRequest, CodeNotFound (no such group), CodeForbidden (the group stores nothing) or CodeConflict (the conversation holds other messages)
	Message string
}

func (e *ImportError) Error() string {
	return fmt.Sprintf("raftstore: import: line %d: %s: %s", e.Line, e.Field, e.Message)
}

// Import stores rows, oldest first, in conversations that hold no other message.
// It holds some thousand rows at a time. One import runs at a time, others wait.
//
// The result counts what is stored, whatever the error: an *ImportError, one of
// rows, or what a command can fail with. A row that is reported again under its
// number in the stream changes nothing, so that a request which failed can be
// repeated as it was. Of the rows behind that of an *ImportError some may be
// stored.
func (s *Store) Import(ctx context.Context, req ImportRequest, rows iter.Seq2[ImportRow, error]) (ImportResult, error) {
	return ImportResult{}, nil
}
