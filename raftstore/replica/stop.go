package replica

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/belfry-im/belfry/raftstore/store"
)

// A stopError is the error of a shard that has stopped for good.
type stopError struct {
	shard uint32
	where string // the log entry, snapshot or read that showed it
	cause any
	stack []byte // where that was; nil for one of the state's own checks
	alone bool   // there is no other replica
}

func (e *stopError) Error() string {
	return fmt.Sprintf("raftstore: unavailable: shard %d has stopped at %s: %v", e.shard, e.where, e.cause)
}

// Is makes it an ErrNotLeader, too, if another replica may lead on.
func (e *stopError) Is(target error) bool {
	return target == store.ErrUnavailable || target == store.ErrNotLeader && !e.alone
}

// stoppedRetryAfter is the time to wait for a shard that only an operator can
// bring back.
const stoppedRetryAfter = 10 * time.Second

func (e *stopError) RetryAfter() time.Duration { return stoppedRetryAfter }

// Stopped returns why the replica has stopped for good, nil if it has not.
func (r *Replica) Stopped() error { return r.stoppedErr() }

func (r *Replica) stoppedErr() error {
	if e := r.stopped.Load(); e != nil {
		return e
	}
	return nil
}

// Stop ends the service of this shard for good, because its state can no longer
// be trusted. where names the log entry, snapshot or read that showed it. Stop
// returns the error of its first call.
func (r *Replica) Stop(where string, cause any) error {
	e := &stopError{shard: r.cfg.Shard, where: where, cause: cause, alone: r.cfg.Transport == nil}
	if _, known := cause.(error); !known {
		e.stack = debug.Stack() // no check of ours that failed: where it was matters
	}
	if r.stopped.CompareAndSwap(nil, e) {
		r.leadership.Store(nil)
		close(r.stopping)
	}
	return r.stoppedErr()
}

// StoppedFile is the name of a file beside the data of a shard that has
// stopped, which holds the reason.
const StoppedFile = "STOPPED"

// reportStopped reports the reason of the stop: in the log, in a metric and in
// a file beside the data.
func (r *Replica) reportStopped() {
	e := r.stopped.Load()
	r.metrics.stopped.Set(1)
	r.log.Error("shard stopped: its data is kept and not served", "at", e.where, "cause", e.cause)
	text := fmt.Sprintf("%s\n%v\n\nThe shard keeps its files and stops here again when it is started.\nIt needs a binary that can go on from this point, or a backup.\n\n%s",
		time.Now().UTC().Format(time.RFC3339), e, e.stack)
	path := filepath.Join(r.cfg.Dir, StoppedFile)
	err := os.WriteFile(path+".tmp", []byte(text), FileMode)
	if err == nil {
		err = os.Rename(path+".tmp", path)
	}
	if err != nil {
		r.log.Error("reason for the stop not written", "err", err)
	}
}

// clearStopped removes the file and resets the metric of an earlier stop.
func (r *Replica) clearStopped() {
	r.metrics.stopped.Set(0)
	if err := os.Remove(filepath.Join(r.cfg.Dir, StoppedFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		r.log.Warn("reason of an earlier stop not removed", "err", err)
	}
}
