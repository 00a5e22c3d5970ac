package protocol

import "fmt"

// Codes of error replies.
const (
	CodeBadRequest   = "bad_request"
	CodeUnknownOp    = "unknown_op"
	CodeUnauthorized = "unauthorized"
	CodeForbidden    = "forbidden"
	CodeNotFound     = "not_found"
	CodeConflict     = "conflict"
	CodeTooLarge     = "too_large"
	CodeTooLate      = "too_late"
	CodeRateLimited  = "rate_limited"
	CodeUnavailable  = "unavailable"
	CodeInternal     = "internal"
)

// Codes are all of them.
var Codes = []string{
	CodeBadRequest, CodeUnknownOp, CodeUnauthorized, CodeForbidden, CodeNotFound, CodeConflict,
	CodeTooLarge, CodeTooLate, CodeRateLimited, CodeUnavailable, CodeInternal,
}

// A MalformedError reports bytes that are no frame. The server closes the
// connection with CloseMalformed; nothing was asked that could be answered.
type MalformedError struct {
	Reason string
}

func (e *MalformedError) Error() string { return "protocol: malformed frame: " + e.Reason }

// A FieldError reports a field that breaks a rule. The server answers the
// request with Code and Message; the session lives on.
type FieldError struct {
	Code  string // CodeBadRequest or CodeTooLarge
	Field string // key in args, "args" for args itself
	Rule  string // a phrase that the field's name comes before: "must be text"
}

func (e *FieldError) Error() string { return "protocol: " + e.Message() }

// Message is the text of the error reply.
func (e *FieldError) Message() string { return e.Field + ": " + e.Rule }

// A ReplyError is the err of a reply.
type ReplyError struct {
	Code         string // one of the Code constants, or one that a later server added
	Message      string // for people
	RetryAfterMS int64  // 0 = the server does not say
}

func (e *ReplyError) Error() string { return fmt.Sprintf("%s: %s", e.Code, e.Message) }
