package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/belfry-im/belfry/gateway/errcode"
	"github.com/belfry-im/belfry/gateway/protocol"
	"github.com/belfry-im/belfry/raftstore/store"
	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/validation"
)

// An Error is the answer to a call that failed.
type Error struct {
	status int
	after  time.Duration // when to try again, 0 = not said

	Code    errorCode `json:"code" doc:"one of the wire protocol's error codes"`
	Message string    `json:"message" doc:"for people; names the field at fault"`
}

func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }

// GetStatus returns the HTTP status of the answer, for huma.
func (e *Error) GetStatus() int { return e.status }

// GetHeaders returns the headers of the answer, for huma.
func (e *Error) GetHeaders() http.Header {
	h := http.Header{}
	if e.after > 0 {
		// In whole seconds, rounded up: a retry that comes too early is refused again.
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(e.after.Seconds()))))
	}
	return h
}

// write sends the error as the answer.
func (e *Error) write(w http.ResponseWriter) {
	for name, values := range e.GetHeaders() {
		w.Header()[name] = values
	}
	writeJSON(w, e.status, e)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// An error here means that the client has gone; there is nobody to tell.
	_ = json.NewEncoder(w).Encode(v)
}

func newError(code, message string) *Error {
	return &Error{status: errcode.Status(code), Code: errorCode(code), Message: message}
}

func badRequest(message string) *Error { return newError(protocol.CodeBadRequest, message) }
func notFound(message string) *Error   { return newError(protocol.CodeNotFound, message) }

// errorOf returns the answer for an error of the store or the protocol. Any other error is
// logged, and answered as internal.
func (a *API) errorOf(err error) *Error {
	if own, ok := errors.AsType[*Error](err); ok {
		return own
	}
	if refused, ok := errors.AsType[*store.ClusterError](err); ok {
		return newError(protocol.CodeConflict, refused.Error())
	}
	r := errcode.Of(err, "")
	if r.Code == protocol.CodeInternal {
		a.log.Error("administration: call failed", "error", err)
	}
	e := newError(r.Code, r.Message)
	e.after = r.After
	return e
}

// huma makes its errors with these variables, and has no other way to change them.
func init() {
	huma.NewError = func(status int, message string, errs ...error) huma.StatusError {
		return validationError(status, message, errs)
	}
	// Otherwise huma would not validate a key in another case, and encoding/json would
	// decode it all the same.
	huma.ValidateStrictCasing = true
	// To huma bounds are floating-point numbers, which it would print as 3.1536e+08.
	validation.MsgExpectedMinimumNumber = "expected number >= %.0f"
	validation.MsgExpectedMaximumNumber = "expected number <= %.0f"
}

// validationError returns the answer for an error of huma. It names the first field at
// fault.
func validationError(status int, message string, errs []error) *Error {
	e := &Error{status: status, Message: message}
	switch status {
	case http.StatusUnprocessableEntity, http.StatusBadRequest:
		e.status, e.Code = http.StatusBadRequest, protocol.CodeBadRequest
		if len(errs) == 0 {
			e.Message = "body: must be set" // the only refusal of huma without an error
		}
	case http.StatusUnsupportedMediaType:
		e.Code, e.Message = protocol.CodeBadRequest, "Content-Type: want application/json"
		if len(errs) == 1 {
			if own, ok := errors.AsType[*Error](errs[0]); ok {
				return own // an import wants another type
			}
		}
		return e
	case http.StatusRequestEntityTooLarge:
		e.Code, e.Message = protocol.CodeTooLarge, "body: is too large"
		return e
	case http.StatusRequestTimeout:
		e.Code, e.Message = protocol.CodeUnavailable, "body: took too long to come"
		return e
	case http.StatusUnauthorized:
		e.Code = protocol.CodeUnauthorized
	case http.StatusForbidden:
		e.Code = protocol.CodeForbidden
	case http.StatusNotFound:
		e.Code = protocol.CodeNotFound
	default:
		e.Code = protocol.CodeInternal
		// The request could not be read to its end.
		if strings.Contains(message, "request body") {
			e.status, e.Code, e.Message = http.StatusBadRequest, protocol.CodeBadRequest, "body: could not be read"
			return e
		}
	}
	for _, err := range errs {
		if own, ok := errors.AsType[*Error](err); ok {
			return own
		}
		detail, ok := err.(*huma.ErrorDetail)
		if !ok {
			continue
		}
		e.Message = fieldMessage(detail)
		break
	}
	return e
}

// fieldMessage returns a message that names the field and the rule, without the value.
func fieldMessage(d *huma.ErrorDetail) string {
	field := d.Location
	for _, place := range []string{"body.", "path.", "query."} {
		if rest, ok := strings.CutPrefix(field, place); ok {
			field = rest
			break
		}
	}
	if field == "body" {
		// for the field "to" the message is "expected required property to to be present"
		if name, ok := strings.CutPrefix(d.Message, "expected required property "); ok {
			return strings.TrimSuffix(name, " to be present") + ": must be set"
		}
		// To JSON Schema 1.0 and 1e3 are integers, to Go they are not: "json: cannot
		// unmarshal number 1.0 into Go struct field .ttl of type uint32"
		if _, rest, ok := strings.Cut(d.Message, "json: cannot unmarshal number "); ok {
			_, name, _ := strings.Cut(rest, "Go struct field ")
			name, _, _ = strings.Cut(name, " of type ")
			if _, name, ok = strings.Cut(name, "."); ok {
				return name + ": must be written as an integer"
			}
			return "body: has a number that is out of range"
		}
	}
	if field == "to" && d.Message == validation.MsgExpectedMatchExactlyOneSchema {
		return fmt.Sprintf("to: want u:<user>, g:<group>, or a list of 1-%d u:<user>", maxReceivers)
	}
	if d.Message == "" {
		return field + ": is wrong"
	}
	return field + ": " + d.Message
}
