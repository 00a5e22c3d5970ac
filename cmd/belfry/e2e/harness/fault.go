package harness

import (
	"fmt"
	"time"
)

// StopShard makes shard n leaderless until ResumeShard. Fault servers only.
func (s *Server) StopShard(n int) { s.T.Helper(); s.fault(fmt.Sprintf("shards/%d/stop", n)) }

// ResumeShard undoes StopShard.
func (s *Server) ResumeShard(n int) { s.T.Helper(); s.fault(fmt.Sprintf("shards/%d/resume", n)) }

// PassTime lets d pass at once on the server's clock: what is older than its
// time to live by then is gone. Fault servers only; a restart undoes it.
func (s *Server) PassTime(d time.Duration) { s.T.Helper(); s.fault("clock/pass/" + d.String()) }

// JumpClock sets the server's wall clock forward by d, or back if d is negative, as
// when a clock is wrong: no time passes by it. Fault servers only; a restart undoes
// it.
func (s *Server) JumpClock(d time.Duration) { s.T.Helper(); s.fault("clock/jump/" + d.String()) }

func (s *Server) fault(call string) {
	s.T.Helper()
	if status, reply := s.Admin("POST", "/faults/"+call, nil); status/100 != 2 {
		s.T.Fatalf("%s: status %d %v", call, status, reply)
	}
}

// HangDisk makes all writes of logs wait until ResumeDisk. Fault servers only.
func (s *Server) HangDisk() { s.T.Helper(); s.fault("disk/hang") }

// ResumeDisk undoes HangDisk.
func (s *Server) ResumeDisk() { s.T.Helper(); s.fault("disk/resume") }
