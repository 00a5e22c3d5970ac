package replica

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"strings"

	"github.com/hashicorp/go-hclog"
)

// hclogger hands what hashicorp/raft logs to slog. Raft is talkative at the
// info level about things that are no news on a node of one voter, so its info
// becomes debug.
type hclogger struct {
	log     *slog.Logger
	name    string
	implied []any
}

var _ hclog.Logger = (*hclogger)(nil)

func (h *hclogger) emit(level slog.Level, msg string, args []any) {
	if !h.log.Enabled(context.Background(), level) {
		return
	}
	attrs := make([]any, 0, len(args))
	for i, arg := range args {
		switch v := arg.(type) {
		case hclog.Format:
			if format, ok := v[0].(string); ok {
				arg = fmt.Sprintf(format, v[1:]...)
			}
		case error:
			arg = v.Error()
		case fmt.Stringer:
			arg = v.String()
		}
		if i%2 == 0 {
			arg = strings.ReplaceAll(fmt.Sprint(arg), "-", "_")
		}
		attrs = append(attrs, arg)
	}
	h.log.Log(context.Background(), level, msg, attrs...)
}

func (h *hclogger) Log(level hclog.Level, msg string, args ...any) {
	switch {
	case level >= hclog.Error:
		h.Error(msg, args...)
	case level == hclog.Warn:
		h.Warn(msg, args...)
	default:
		h.Debug(msg, args...)
	}
}

func (h *hclogger) Trace(string, ...any)             {}
func (h *hclogger) Debug(msg string, args ...any)    { h.emit(slog.LevelDebug, msg, args) }
func (h *hclogger) Info(msg string, args ...any)     { h.emit(slog.LevelDebug, msg, args) }
func (h *hclogger) Error(msg string, args ...any)    { h.emit(slog.LevelError, msg, args) }
func (h *hclogger) IsTrace() bool                    { return false }
func (h *hclogger) IsDebug() bool                    { return h.enabled(slog.LevelDebug) }
func (h *hclogger) IsInfo() bool                     { return h.enabled(slog.LevelDebug) }
func (h *hclogger) IsWarn() bool                     { return h.enabled(slog.LevelWarn) }
func (h *hclogger) IsError() bool                    { return h.enabled(slog.LevelError) }
func (h *hclogger) enabled(level slog.Level) bool    { return h.log.Enabled(context.Background(), level) }
func (h *hclogger) ImpliedArgs() []any               { return h.implied }
func (h *hclogger) Name() string                     { return h.name }
func (h *hclogger) SetLevel(hclog.Level)             {}
func (h *hclogger) GetLevel() hclog.Level            { return hclog.Debug }
func (h *hclogger) ResetNamed(n string) hclog.Logger { return &hclogger{h.log, n, h.implied} }

// Warn keeps quiet about the election that every start of a lone voter begins
// with.
func (h *hclogger) Warn(msg string, args ...any) {
	level := slog.LevelWarn
	if strings.HasPrefix(msg, "heartbeat timeout reached, starting election") {
		level = slog.LevelDebug
	}
	h.emit(level, msg, args)
}

func (h *hclogger) With(args ...any) hclog.Logger {
	return &hclogger{h.log.With(args...), h.name, append(h.implied[:len(h.implied):len(h.implied)], args...)}
}

func (h *hclogger) Named(name string) hclog.Logger {
	if h.name != "" {
		name = h.name + "." + name
	}
	return &hclogger{h.log, name, h.implied}
}

func (h *hclogger) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return slog.NewLogLogger(h.log.Handler(), slog.LevelDebug)
}

func (h *hclogger) StandardWriter(opts *hclog.StandardLoggerOptions) io.Writer {
	return h.StandardLogger(opts).Writer()
}
