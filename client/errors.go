package client

import (
	"errors"
	"fmt"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

var (
	// ErrClosed means that the client was closed before the answer came.
	ErrClosed = errors.New("client: closed")
	// ErrOffline means that nothing was sent: the request is of use only on the
	// connection of the moment, and there is none.
	ErrOffline = errors.New("client: no connection")
	// ErrQueueFull means that nothing was sent: as many requests wait already
	// as Config allows.
	ErrQueueFull = errors.New("client: queue full")
	// ErrUnknown means that the request may have been carried out: it was
	// written and no answer came. To send the message again, give the same CID.
	ErrUnknown = errors.New("client: outcome unknown")
	// ErrUnauthorized is what errors.Is finds in an *Error of code "unauthorized".
	// Config.Token returns it if there is no token any more, which ends the client.
	ErrUnauthorized = errors.New("client: unauthorized")
)

// An Error is the server's refusal of a request. Unless its code is "unavailable"
// or "internal", the request has changed nothing.
type Error struct {
	Code    string // as in the protocol: "bad_request", "forbidden", "too_late" …
	Message string // for people; names the field at fault
	// RetryAfter is set with "unavailable" and "rate_limited". The client has
	// waited for it and tried again before an application sees the error.
	RetryAfter time.Duration
}

func (e *Error) Error() string {
	if e.Message == "" {
		return "client: refused: " + e.Code
	}
	return fmt.Sprintf("client: refused: %s: %s", e.Code, e.Message)
}

// Is lets errors.Is(err, ErrUnauthorized) find a refused token.
func (e *Error) Is(target error) bool {
	return target == ErrUnauthorized && e.Code == protocol.CodeUnauthorized
}

// temporary reports whether the same request may succeed a little later.
func (e *Error) temporary() bool {
	return e.Code == protocol.CodeUnavailable || e.Code == protocol.CodeRateLimited
}

// refusal returns the err of a reply as an *Error, or nil if it is nil.
func refusal(e *protocol.ReplyError) *Error {
	if e == nil {
		return nil
	}
	return &Error{Code: e.Code, Message: e.Message, RetryAfter: time.Duration(e.RetryAfterMS) * time.Millisecond}
}

// A KickedError ends a client whose session the server ended: another session
// took its place, or an administrator ended it.
type KickedError struct {
	Reason string // "sameDevice", "policy" or "admin"; empty if the server gave none
}

func (e *KickedError) Error() string { return "client: kicked: " + e.Reason }

// A FieldError reports an argument or a field of Config that breaks a rule. It
// is found before anything is sent.
type FieldError = protocol.FieldError

func wrong(field, rule string, args ...any) *FieldError {
	return &FieldError{Code: protocol.CodeBadRequest, Field: field, Rule: fmt.Sprintf(rule, args...)}
}
