package admin

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/belfry-im/belfry/gateway/inspect"
)

// A call holds what the audit log says of one request. Only the request's
// goroutine uses it.
type call struct {
	began     time.Time
	operation string // "" = no operation of this API
	token     string // name of the token, "" = no valid one, or the server is open to everybody
	allowed   bool   // the token has the scope
	secret    string // the token itself, which is never told
	target    string // what was changed
	outcome   string // details that the status does not give
}

type callKey struct{}

func callOf(ctx context.Context) *call { return ctx.Value(callKey{}).(*call) }

// audit logs a call that changes something or, if it failed, would have.
func (a *API) audit(c *call, w *responseWriter, r *http.Request) {
	if c.operation == "" || r.Method == http.MethodGet || r.Method == http.MethodHead {
		return
	}
	status := w.status
	if status == 0 {
		status = http.StatusOK
	}
	took := time.Since(c.began)
	change := inspect.Change{
		Time: time.Now().UnixMilli(), Operation: c.operation, Method: r.Method, Path: r.URL.EscapedPath(), Token: c.token, Remote: r.RemoteAddr,
		Target: c.target, Status: status, Outcome: c.outcome, Duration: took.Milliseconds(),
	}
	// The status does not tell them: a call in the form of Tencent always answers 200.
	switch {
	case c.allowed:
		a.config.Inspect.Changes.Add(change)
	case c.token != "":
		a.config.Inspect.Changes.AddRefused(change)
	default: // strangers, who could make any number of others be forgotten
	}
	// The query stays out: it may hold a token.
	a.log.LogAttrs(r.Context(), slog.LevelInfo, "administration",
		slog.String("operation", c.operation), slog.String("method", r.Method), slog.String("path", r.URL.EscapedPath()),
		slog.String("token", c.token), slog.String("remote", r.RemoteAddr), slog.String("target", c.target),
		slog.Int("status", status), slog.String("outcome", c.outcome), slog.Duration("duration", took))
}

// A responseWriter sets a deadline for each write, and remembers the status.
type responseWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration
	status  int // 0 = nothing was written
}

func (w *responseWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// extend sets the deadline of the next write. A writer without deadlines, such
// as a test's, ignores it.
func (w *responseWriter) extend() { _ = w.control.SetWriteDeadline(time.Now().Add(w.timeout)) }

func (w *responseWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.extend()
	w.ResponseWriter.WriteHeader(status)
}

func (w *responseWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	w.extend()
	return w.ResponseWriter.Write(b)
}

// A timedBody is a request body with a deadline: timeout for all of it or, with
// perRead, for each read. At the end of the body the deadline is cleared: if it
// passed later, net/http would take the caller for gone. If the handler does
// not read the body to its end, the deadline stays, since net/http reads the
// rest before it answers.
type timedBody struct {
	io.ReadCloser
	control *http.ResponseController
	timeout time.Duration
	perRead bool
}

// begin sets the deadline. A connection without deadlines ignores it.
func (b *timedBody) begin() { _ = b.control.SetReadDeadline(time.Now().Add(b.timeout)) }

func (b *timedBody) Read(p []byte) (int, error) {
	if b.perRead {
		b.begin()
	}
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}
