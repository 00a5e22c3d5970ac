package node

import (
	"testing"
	"time"
)

// With WAN the replicas of shards wait for longer, too, and a cluster begins all the same.
func TestWAN(t *testing.T) {
	t.Parallel()
	for wan, want := range map[bool]time.Duration{false: 0, true: time.Second} {
		if got := (&Config{WAN: wan}).electionTimeout(); got != want {
			t.Errorf("WAN %v: the time-out of elections is %v, want %v", wan, got, want)
		}
	}
	m := machines(t, 1)[0]
	m.start(Config{Join: []string{m.address}, Expect: 1, WAN: true})
	m.healthy(0)
}
