package command

import "fmt"

// A Code is the outcome of a command. Every code but OK means that the state did not
// change.
type Code uint8

const (
	OK             Code = iota
	CodeBadRequest      // a field is wrong; Detail names it and the rule
	CodeForbidden
	CodeNotFound
	CodeConflict
	CodeTooLate
	CodeRateLimited
	CodeMoved        // the slot is frozen or not in this shard: ask the router again
	CodeGap          // a letter came before its predecessor; Seq is the number expected
	CodeUnauthorized // the token is too old, see SetUser.TokensFrom
)

// A Result answers one command. Which fields are set depends on the command.
type Result struct {
	Code         Code
	Detail       string // for people: the field at fault and the rule
	RetryAfterMS int64  // with CodeRateLimited

	// Send, SendGroup: ID, Seq and Time of the message; for a duplicate, those of the
	// first. Seq is also the read cursor after SetRead, the conversation at which
	// EraseUser has to go on (0 = done), and the number of the row at fault of a
	// refused Import.
	ID        MsgID
	Seq       uint64
	Time      int64
	Duplicate bool

	Unread int // ReadReport, ReadGroup, SetRead: unread messages of the conversation now

	// CreateGroup, JoinGroup: arrival number of the joining in the group's order; if
	// the user did not become a member, of the newest event.
	Arrival uint64
	Pending bool            // JoinGroup: an admin has to approve; SetGroup: the new owner has to accept
	Failed  []MemberFailure // AddMembers, RemoveMembers, CreateGroup
	Deleted int             // DeleteMessagesFrom: number of messages

	NextSlot uint16 // RaiseCutoff: the slot to go on from, Slots = done

	// Login. Kicked also of SetUser and EraseUser.
	Session       SessionID
	Reset         bool   // the device's cursor was not accepted
	CursorArrival uint64 // arrival number of the device's cursor; 0 = it gave none, or not a good one
	Kicked        []Kick
}

// A MemberFailure is a user who was not added or removed.
type MemberFailure struct {
	User UserID
	Code Code
}

// A Kick is a session that was ended by another login or by an administrator.
type Kick struct {
	User    UserID
	Session SessionID
	Reason  string // as on the wire: "sameDevice", "policy" or "admin"; "token" if the token is refused from now on
}

// Err returns the refusal as an error, or nil for OK.
func (r *Result) Err() error {
	if r.Code == OK {
		return nil
	}
	return &RefusedError{Code: r.Code, Detail: r.Detail, RetryAfterMS: r.RetryAfterMS}
}

// A RefusedError is the refusal of a command: it was committed and executed, and
// nothing changed.
type RefusedError struct {
	Code         Code
	Detail       string
	RetryAfterMS int64
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("shard: refused (%d): %s", e.Code, e.Detail)
}
