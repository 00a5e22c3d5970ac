package client

import (
	"errors"
	"fmt"
	"time"

	"github.com/belfry-im/belfry/client/store"
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
	// ErrQueued means that a message is in the outbox on disk: it goes out when the
	// client, or a later one with this store, has a connection. It is not lost.
	ErrQueued = errors.New("client: in the outbox")
	// ErrCanceled is the outcome of a message that was taken out of the outbox.
	ErrCanceled = errors.New("client: canceled")
	// ErrNoStore means that the client has no store, or stores nothing of the conversation.
	ErrNoStore = errors.New("client: no store")
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

// open reports whether the request may have been carried out all the same, or may be later.
func (e *Error) open() bool { return e.temporary() || e.Code == protocol.CodeInternal }

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

// A StoreError reports that the store cannot be opened, read or written. It names the file.
// errors.Is finds ErrStoreLocked, ErrStoreCorrupt and ErrStoreForeign in it.
type StoreError = store.Error

var (
	// ErrStoreLocked means that another client has the file open.
	ErrStoreLocked = store.ErrLocked
	// ErrStoreCorrupt means that the file is no store, or is damaged.
	ErrStoreCorrupt = store.ErrCorrupt
	// ErrStoreForeign means that the store holds data of another user, or of another service.
	ErrStoreForeign = store.ErrForeign
)

// A GapError says why there is no message at a seq.
type GapError struct {
	Conv   string
	Seq    uint64
	Reason string // that of a Gap, or ReasonUnknown beyond the newest message
}

func (e *GapError) Error() string {
	return fmt.Sprintf("client: no message %d in %s: %s", e.Seq, e.Conv, e.Reason)
}

// A FieldError reports an argument or a field of Config that breaks a rule. It
// is found before anything is sent.
type FieldError = protocol.FieldError

func wrong(field, rule string, args ...any) *FieldError {
	return &FieldError{Code: protocol.CodeBadRequest, Field: field, Rule: fmt.Sprintf(rule, args...)}
}
