package faults

import (
	"testing"
	"time"

	"github.com/belfry-im/belfry/cmd/belfry/e2e/harness"
)

// TestDiskHangs has a disk that takes nothing for a while: nothing is acknowledged
// meanwhile, what needs no disk goes on, and then all that waited is stored, once.
func TestDiskHangs(t *testing.T) {
	s := harness.StartFaults(t)
	alice := s.Login(t, "alice", "phone", nil)
	alice.Sync()
	alice.Say("u:bob", "before")
	s.HangDisk()
	const count = 20
	wait := alice.Background("u:bob", "during", count, func(cid string) any { return obj{"text": cid} })
	answered := make(chan map[int64]string, 1)
	go func() { answered <- wait() }()
	select {
	case got := <-answered:
		t.Fatalf("the disk hangs, and sends were answered: %v", got)
	case <-time.After(500 * time.Millisecond):
	}
	if status, reply := s.Admin("GET", "/healthz", nil); status != 200 {
		t.Errorf("GET /healthz while the disk hangs: %d %v, want 200", status, reply)
	}
	s.ResumeDisk()
	if got := <-answered; len(got) != count {
		t.Errorf("%d of %d sends were answered once the disk worked again", len(got), count)
	}
	if messages := alice.AllHistory("u:bob"); len(messages) != count+1 {
		t.Errorf("history has %d messages, want %d: %v", len(messages), count+1, messages)
	}
}
