// Package errcode says what errors are called in answers: one table of codes,
// which the wire and the administration share.
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

// A row is a code, with the HTTP status that it has in the administration and the
// refusal of the store that it stands for.
type row struct {
	code   string
	status int          // 0 = no call is answered with it
	store  command.Code // command.OK = none
}

// table has all codes of the protocol. Refusals of the store that are not in it
// are not meant for clients.
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
	{protocol.CodeUnavailable, http.StatusServiceUnavailable, command.OK},
	{protocol.CodeInternal, http.StatusInternalServerError, command.OK},
}

// Status returns the HTTP status of a code.
func Status(code string) int {
	for _, r := range table {
		if r.code == code {
			return r.status
		}
	}
	return 0
}

// OfCalls are the codes that calls of the administration are answered with.
func OfCalls() []string {
	var codes []string
	for _, r := range table {
		if r.status != 0 {
			codes = append(codes, r.code)
		}
	}
	return codes
}

// OfStore returns the code of a refusal of the store, internal if it is not meant
// for clients.
func OfStore(c command.Code) string {
	for _, r := range table {
		if r.store == c && c != command.OK {
			return r.code
		}
	}
	return protocol.CodeInternal
}

// A Refusal is what an error is answered with.
type Refusal struct {
	Code    string
	Message string
	After   time.Duration // when to try again, 0 = no matter
}

// Of returns the refusal of an error of the protocol or the store; about goes
// before a message that is about no field. What nobody outside can make sense of
// is protocol.CodeInternal, and to be logged.
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
