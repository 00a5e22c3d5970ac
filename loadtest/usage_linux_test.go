package loadtest

import (
	"os"
	"testing"
	"time"
)

func TestReadUsage(t *testing.T) {
	if u, err := readUsage(os.Getpid()); err != nil || u.rss < 1<<20 {
		t.Errorf("readUsage of this process = %+v, %v", u, err)
	}
	if _, err := readUsage(1 << 30); err == nil {
		t.Error("readUsage of no process: no error")
	}
	if u, err := readUsages(nil); err != nil || u != (usage{}) {
		t.Errorf("readUsages of none = %+v, %v; want nothing", u, err)
	}
	one, err := readUsage(os.Getpid())
	if two, errTwo := readUsages([]int{os.Getpid(), os.Getpid()}); err != nil || errTwo != nil || two.rss < one.rss*3/2 || two.cpu < 2*one.cpu {
		t.Errorf("readUsages of this process twice = %+v, %v; want twice %+v, %v", two, errTwo, one, err)
	}
}

func TestOthersCPU(t *testing.T) {
	before, err := OthersCPU()
	if err != nil || before <= 0 {
		t.Fatalf("OthersCPU = %v, %v", before, err)
	}
	busy, err := parseBusy("cpu  100 10 50 9999 8888 7 6 5 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n")
	if want := 1780 * time.Millisecond; busy != want || err != nil {
		t.Errorf("parseBusy = %v, %v; want %v", busy, err, want)
	}
	for _, bad := range []string{"", "cpu 1 2 3", "intr 1 2 3 4 5 6 7 8", "cpu 1 2 3 4 5 6 7 x"} {
		if _, err := parseBusy(bad); err == nil {
			t.Errorf("parseBusy(%q): no error", bad)
		}
	}
}
