package command

import "fmt"

// Code is the outcome of a command. Everything but OK left the state untouched.
type Code uint8

const (
	OK             Code = iota
	CodeBadRequest      // a field is wrong; Detail names it and the rule
	CodeForbidden
	CodeNotFound
	CodeConflict
	CodeTooLate
	CodeRateLimited
	CodeMoved        // the slot is frozen or not here: ask the router again
	CodeGap          // a letter came before its predecessor; Seq is the number expected
	CodeUnauthorized // the token is one of those that the user's are refused from
)

// A Result answers one command. Which fields are set depends on the command.
type Result struct {
	Code   Code
	Detail string // for people: the field at fault and the rule
	// RetryAfterMS is set with CodeRateLimited.
	RetryAfterMS int64

	// Send. For a duplicate they are those of the first. Seq is also of SetRead: the
	// read cursor now; of EraseUser: the conversation to go on with, 0 when all is
	// done; of a refused Import: the number of the row at fault.
	ID        MsgID
	Seq       uint64
	Time      int64
	Duplicate bool

	Unread int // ReadReport, SetRead: unread of that conversation now

	// Arrival is of CreateGroup and JoinGroup: the place of the joining in the
	// group's order; of who is no member of the group thereby, the present one.
	Arrival uint64
	Pending bool            // JoinGroup: an admin has to approve; SetGroup: the new owner
	Failed  []MemberFailure // AddMembers, RemoveMembers, CreateGroup
	Deleted int             // DeleteMessagesFrom: messages

	NextSlot uint16 // Retain: the slot to go on from, Slots when all are done

	// Login; Kicked also of SetUser and EraseUser.
	Session       SessionID
	Reset         bool   // the device's cursor counted as absent
	CursorArrival uint64 // arrival number the device stands at; 0 when it gave no (good) cursor
	Kicked        []Kick
}

// A MemberFailure is a user who was not added or removed.
type MemberFailure struct {
	User UserID
	Code Code
}

// A Kick is a session that was ended by another login or an administrator.
type Kick struct {
	User    UserID
	Session SessionID
	Reason  string // "sameDevice", "policy" or "admin", as on the wire; "token": that is refused from now on
}

// Err returns the refusal as an error, nil for OK.
func (r *Result) Err() error {
	if r.Code == OK {
		return nil
	}
	return &RefusedError{Code: r.Code, Detail: r.Detail, RetryAfterMS: r.RetryAfterMS}
}

// A RefusedError is a command's refusal: committed, executed, nothing changed.
type RefusedError struct {
	Code         Code
	Detail       string
	RetryAfterMS int64
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("shard: refused (%d): %s", e.Code, e.Detail)
}
