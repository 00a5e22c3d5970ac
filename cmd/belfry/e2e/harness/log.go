package harness

import "sync"

// logKeep is how much of a server's log a failing test shows.
const logKeep = 32 << 10

// A LogTail keeps the end of what is written to it.
type LogTail struct {
	mu  sync.Mutex
	buf []byte
	cut bool
}

func (l *LogTail) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = append(l.buf, p...)
	if over := len(l.buf) - 2*logKeep; over > 0 {
		// Cut rarely, so that a chatty server does not make this quadratic.
		l.buf = append(l.buf[:0], l.buf[len(l.buf)-logKeep:]...)
		l.cut = true
	}
	return len(p), nil
}

func (l *LogTail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		return "…" + string(l.buf)
	}
	return string(l.buf)
}

// Reset forgets what was written.
func (l *LogTail) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf, l.cut = l.buf[:0], false
}
