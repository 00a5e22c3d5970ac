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

// Codes has all of these codes.
var Codes = []string{
	CodeBadRequest, CodeUnknownOp, CodeUnauthorized, CodeForbidden, CodeNotFound, CodeConflict,
	CodeTooLarge, CodeTooLate, CodeRateLimited, CodeUnavailable, CodeInternal,
}

// A MalformedError says that bytes are not a frame. The server closes the
// connection with CloseMalformed, since there is no request that it could
// answer.
type MalformedError struct {
	Reason string
}

func (e *MalformedError) Error() string { return "protocol: malformed frame: " + e.Reason }

// A FieldError says that a field breaks a rule. The server answers the request
// with Code and Message, and the session goes on.
type FieldError struct {
	Code  string // CodeBadRequest or CodeTooLarge
	Field string // key in args; "args" for args as a whole
	Rule  string // follows the name of the field: "must be text"
}

func (e *FieldError) Error() string { return "protocol: " + e.Message() }

// Message is the text of the error reply.
func (e *FieldError) Message() string { return e.Field + ": " + e.Rule }

// A ReplyError is the err of a reply.
type ReplyError struct {
	Code         string // one of the Code constants, or one of a later server
	Message      string // for people
	RetryAfterMS int64  // 0 = the server does not say
}

func (e *ReplyError) Error() string { return fmt.Sprintf("%s: %s", e.Code, e.Message) }
