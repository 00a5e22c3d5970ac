package loadtest

import (
	"os"
	"testing"
)

func TestReadUsage(t *testing.T) {
	if u, err := readUsage(os.Getpid()); err != nil || u.rss < 1<<20 {
		t.Errorf("readUsage of this process = %+v, %v", u, err)
	}
	if _, err := readUsage(1 << 30); err == nil {
		t.Error("readUsage of no process: no error")
	}
	if u, err := readUsage(0); err != nil || u != (usage{}) {
		t.Errorf("readUsage(0) = %+v, %v; want nothing", u, err)
	}
}
