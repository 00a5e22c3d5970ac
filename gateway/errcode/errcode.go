// Package errcode has the codes of errors in answers: one table, which the wire
// and the administration share.
package errcode

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/belfry-im/belfry/shard/command"
)

// A row is a code of the protocol, its HTTP status in the administration, and the
// store's code for the same refusal.
type row struct {
	code   string
	status int          // 0 = the administration does not answer with it
	store  command.Code // command.OK = the store does not refuse with it
}

// table has all codes of the protocol. Refusals of the store with other codes are
// not meant for clients.
var table = []row{
	{protocol.CodeBadRequest, http.StatusBadRequest, command.CodeBadRequest},
	{protocol.CodeUnknownOp, 0, command.OK},
	{protocol.CodeUnauthorized, http.StatusUnauthorized, command.CodeUnauthorized},
	{protocol.CodeForbidden, http.StatusForbidden, command.CodeForbidden},
	{protocol.CodeNotFound, http.StatusNotFound, command.CodeNotFound},
	{protocol.CodeConflict, http.StatusConflict, command.CodeConflict},
	{protocol.CodeTooLarge, http.StatusRequestEntityTooLarge, command.OK},
	{protocol.CodeTooLate, http.StatusConflict, command.CodeTooLate},
	{protocol.CodeRateLimited, http.StatusTooManyRequests, command.CodeRateLimited},
	{protocol.CodeUnavailable, http.StatusServiceUnavailable, command.CodeOvertaken},
	{protocol.CodeInternal, http.StatusInternalServerError, command.OK},
}

// Status returns the HTTP status of a code, 0 if it has none.
func Status(code string) int {
	for _, r := range table {
		if r.code == code {
			return r.status
		}
	}
	return 0
}

// OfCalls returns the codes that the administration answers with.
func OfCalls() []string {
	var codes []string
	for _, r := range table {
		if r.status != 0 {
			codes = append(codes, r.code)
		}
	}
	return codes
}

// OfStore returns the protocol's code for a refusal of the store: internal if
// that is not meant for clients.
func OfStore(c command.Code) string {
	for _, r := range table {
		if r.store == c && c != command.OK {
			return r.code
		}
	}
	return protocol.CodeInternal
}

// A Refusal is the answer to a request or call that failed.
type Refusal struct {
	Code    string
	Message string
	After   time.Duration // when to try again, 0 = not said
}

// Of returns the refusal for an error of the protocol or the store. about is put
// before messages that name no field. For any other error the code is
// protocol.CodeInternal: the caller has to log the error.
func Of(err error, about string) Refusal {
	if field, ok := errors.AsType[*protocol.FieldError](err); ok {
		return Refusal{Code: field.Code, Message: field.Message()}
	}
	if refused, ok := errors.AsType[*command.RefusedError](err); ok {
		if code := OfStore(refused.Code); code != protocol.CodeInternal {
			return Refusal{code, refused.Detail, time.Duration(refused.RetryAfterMS) * time.Millisecond}
		}
	}
	if errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrUnknown) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		message := about + "the server cannot do this right now; repeating it is safe"
		return Refusal{protocol.CodeUnavailable, message, max(store.RetryAfter(err), time.Millisecond)}
	}
	return Refusal{Code: protocol.CodeInternal, Message: about + "the server failed; it has logged why"}
}
