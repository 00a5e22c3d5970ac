package store

import (
	"fmt"

	"github.com/belfry-im/belfry/shard/command"
	"github.com/belfry-im/belfry/shard/query"
)

// An ImportRow is a message of another system. Either Group or To is set.
type ImportRow struct {
	From     command.UserID
	To       command.UserID
	Group    command.GroupID
	Time     int64         // ms
	TTL      uint32        // seconds, 0 = none
	ID       command.MsgID // zero: made from the stream and the row's number
	CID      string        // empty: made from the row's number
	Mentions []string
	Body     []byte // canonical msgpack; not kept once the next row is asked for
}

// An ImportRequest describes the rows of one import.
type ImportRequest struct {
	Stream string // 1-64 bytes
	Offset uint64 // rows of the stream before these
	Unread bool   // rows are unread by their receivers; else all is read
}

// An ImportResult counts the rows that an import has handled.
type ImportResult struct {
	Rows    uint64 // taken, the sum of the others
	Stored  uint64
	Known   uint64 // stored by an earlier request
	Expired uint64 // too old to be kept; they take no seq
}

// An ImportError names the row that ended an import.
type ImportError struct {
	Line    uint64       // of the request, from 1
	Field   string       // of the row, as in its JSON
	Code    command.Code // CodeBadRequest, CodeNotFound (no such group) or CodeConflict (the conversation holds other messages)
	Message string
}

func (e *ImportError) Error() string {
	return fmt.Sprintf("raftstore: import: line %d: %s: %s", e.Line, e.Field, e.Message)
}

// An ExportRow is a piece of a user's data. One field is set.
type ExportRow struct {
	User         *query.UserInfo
	Blocked      *command.UserID
	Conversation *query.Conversation // followed by its messages
	Message      *query.Message
	Group        *ExportedGroup
}

// An ExportedGroup is a group with the user's membership.
type ExportedGroup struct {
	Info   query.GroupInfo // as the user sees it
	Member query.Member
}
