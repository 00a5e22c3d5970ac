package admin

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"time"
)

// A call is what the audit log tells of one request. It belongs to the
// request's goroutine.
type call struct {
	began     time.Time
	operation string // "" = no operation of this API
	token     string // name of the token, "" = no valid one
	target    string // what was changed
	outcome   string // what the status does not say
}

type callKey struct{}

func callOf(ctx context.Context) *call { return ctx.Value(callKey{}).(*call) }

// audit logs a call that changes something, or would have if it had not failed.
func (a *API) audit(c *call, w *responseWriter, r *http.Request) {
	if c.operation == "" || scopeOf(r.Method) == ScopeRead || r.Method == http.MethodHead {
		return
	}
	status := w.status
	if status == 0 {
		status = http.StatusOK
	}
	// The query stays out: it may hold a token.
	a.log.LogAttrs(r.Context(), slog.LevelInfo, "administration",
		slog.String("operation", c.operation), slog.String("method", r.Method), slog.String("path", r.URL.EscapedPath()),
		slog.String("token", c.token), slog.String("remote", r.RemoteAddr), slog.String("target", c.target),
		slog.Int("status", status), slog.String("outcome", c.outcome), slog.Duration("duration", time.Since(c.began)))
}

// A responseWriter sets a deadline for each write, and remembers the status.
type responseWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration
	status  int // 0 = nothing was written
}

func (w *responseWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// extend sets the deadline of what is written next. A writer that knows no
// deadlines, such as a test's, has none.
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

// A timedBody has to come whole within timeout, or each part of it with
// perRead. The deadline is off again at its end: net/http takes one that passes
// later for a caller that has gone. It stays on what is not read to its end,
// which net/http reads on before it answers.
type timedBody struct {
	io.ReadCloser
	control *http.ResponseController
	timeout time.Duration
	perRead bool
}

// begin sets the deadline, unless the connection knows no deadlines.
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
