package command

import (
	"fmt"

	"github.com/belfry-im/belfry/shard/codec"
)

// A Code is the outcome of a command. The state did not change unless the code is OK.
type Code uint8

const (
	OK             Code = iota
	CodeBadRequest      // a field is wrong; Detail names it and the rule
	CodeForbidden
	CodeNotFound
	CodeConflict
	CodeTooLate
	CodeRateLimited
	CodeMoved        // the slot is frozen or not in this shard: the router has to look it up again
	CodeGap          // a letter before this one is missing, or rows of an import would not get the seqs planned; Seq is the number expected
	CodeUnauthorized // the token is too old, see SetUser.TokensFrom
	CodeOvertaken    // a later login of the same device has sent already, see Origin
)

// A Result answers one command. The comments say which commands set a field.
type Result struct {
	Code         Code
	Detail       string // for people: the field at fault and the rule
	RetryAfterMS int64  // with CodeRateLimited

	// ID, Seq and Time are those of the message that Send or SendGroup stored, or, for
	// a duplicate, those of the first. Seq has other meanings too: the read cursor
	// after SetRead; the conversation from which EraseUser has to go on (0 = done); the
	// number of the row for which an Import was refused; the number expected with
	// CodeGap.
	ID        MsgID
	Seq       uint64
	Time      int64
	Duplicate bool

	Unread int // ReadReport, ReadGroup, SetRead: number of unread messages in the conversation now

	// Arrival is set by CreateGroup and JoinGroup: the place of the join in the group's
	// order, or, if the user did not become a member, of the group's newest event.
	Arrival uint64
	Pending bool            // JoinGroup: an admin has to approve it; SetGroup: the new owner has to accept
	Failed  []MemberFailure // AddMembers, RemoveMembers, CreateGroup
	Deleted int             // DeleteMessagesFrom: number of messages deleted

	NextSlot uint16 // RaiseCutoff: the slot from which to go on; Slots = done

	// Session, Reset and CursorArrival are set by Login; Kicked by Login, Logout, SetUser and
	// EraseUser.
	Session       SessionID
	Reset         bool   // the device's cursor was not accepted
	CursorArrival uint64 // arrival number of the device's cursor; 0 = it gave none, or it was not accepted
	Kicked        []Kick
}

// A MemberFailure names a user who could not be added or removed, and the reason.
type MemberFailure struct {
	User UserID
	Code Code
}

// A Kick is a session that was ended by another login or by an administrator.
type Kick struct {
	User    UserID
	Session SessionID
	Reason  string // as on the wire: "sameDevice", "policy", "admin", or "token" if the session's token is no longer accepted
}

// Bounds of a result.
const (
	maxDetail  = 4 << 10
	maxResults = 1 << 20 // of each list
)

// Fields writes or reads the result, for an answer to another node.
func (r *Result) Fields(x *codec.Coder) {
	codec.Byte(x, &r.Code)
	codec.Text(x, &r.Detail, maxDetail)
	codec.Int(x, &r.RetryAfterMS)
	codec.Fixed(x, r.ID[:])
	codec.Uint(x, &r.Seq)
	codec.Int(x, &r.Time)
	codec.Bool(x, &r.Duplicate)
	codec.Int(x, &r.Unread)
	codec.Uint(x, &r.Arrival)
	codec.Bool(x, &r.Pending)
	codec.List(x, &r.Failed, 2, maxResults, (*MemberFailure).fields)
	codec.Int(x, &r.Deleted)
	codec.Uint(x, &r.NextSlot)
	codec.Uint(x, &r.Session)
	codec.Bool(x, &r.Reset)
	codec.Uint(x, &r.CursorArrival)
	codec.List(x, &r.Kicked, 3, maxResults, (*Kick).fields)
}

func (f *MemberFailure) fields(x *codec.Coder) {
	codec.Text(x, &f.User, maxDetail)
	codec.Byte(x, &f.Code)
}

func (k *Kick) fields(x *codec.Coder) {
	codec.Text(x, &k.User, maxDetail)
	codec.Uint(x, &k.Session)
	codec.Text(x, &k.Reason, maxDetail)
}

// Err returns the refusal as an error, or nil for OK.
func (r *Result) Err() error {
	if r.Code == OK {
		return nil
	}
	return &RefusedError{Code: r.Code, Detail: r.Detail, RetryAfterMS: r.RetryAfterMS}
}

// A RefusedError says that a command was committed and executed but refused: nothing
// changed. Queries are refused with it as well.
type RefusedError struct {
	Code         Code
	Detail       string
	RetryAfterMS int64
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("shard: refused (%d): %s", e.Code, e.Detail)
}
