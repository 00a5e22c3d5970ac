package gateway

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// rareEvery is the time between two lines of a rareLog.
const rareEvery = time.Second

// A rareLog writes lines of one kind, which peers can cause as often as they like. What comes
// within rareEvery of a line is only counted, and the next line has that number, as
// "unlogged". The zero value is ready.
type rareLog struct {
	mu       sync.Mutex
	last     time.Time
	unlogged int
}

// Log writes a line, or counts it.
func (r *rareLog) Log(log *slog.Logger, level slog.Level, message string, args ...any) {
	r.mu.Lock()
	now := time.Now()
	if now.Sub(r.last) < rareEvery {
		r.unlogged++
		r.mu.Unlock()
		return
	}
	if r.unlogged > 0 {
		args = append(args, "unlogged", r.unlogged)
	}
	r.last, r.unlogged = now, 0
	r.mu.Unlock()
	log.Log(context.Background(), level, message, args...)
}
