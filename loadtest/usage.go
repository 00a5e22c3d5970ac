package loadtest

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of CPU time in /proc. It is the kernel's USER_HZ, 100 on
// every architecture that Go runs on.
const clockTick = time.Second / 100

// A usage is what a process has used up to now.
type usage struct {
	cpu time.Duration // user and system
	rss int64         // bytes
}

// readUsages returns what processes have used together; zeros for none.
func readUsages(pids []int) (sum usage, err error) {
	for _, pid := range pids {
		u, err := readUsage(pid)
		if err != nil {
			return usage{}, err
		}
		sum.cpu += u.cpu
		sum.rss += u.rss
	}
	return sum, nil
}

// readUsage returns what a process has used, according to /proc.
func readUsage(pid int) (u usage, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return usage{}, fmt.Errorf("loadtest: usage of process %d: %w", pid, err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return usage{}, fmt.Errorf("loadtest: usage of process %d: %w", pid, err)
	}
	if u.cpu, err = parseStat(stat); err != nil {
		return usage{}, fmt.Errorf("loadtest: /proc/%d/stat: %w", pid, err)
	}
	if u.rss, err = parseStatus(status); err != nil {
		return usage{}, fmt.Errorf("loadtest: /proc/%d/status: %w", pid, err)
	}
	return u, nil
}

// parseStat returns the sum of utime and stime, which are fields 14 and 15. Field
// 2 is a name in parentheses that may hold anything.
func parseStat(stat []byte) (cpu time.Duration, err error) {
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const first, utime, stime = 3, 14, 15
	if len(fields) <= stime-first {
		return 0, fmt.Errorf("%d fields after the name, want more than %d", len(fields), stime-first)
	}
	for _, f := range fields[utime-first : stime-first+1] {
		ticks, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		cpu += time.Duration(ticks) * clockTick
	}
	return cpu, nil
}

func parseStatus(status []byte) (rss int64, err error) {
	for line := range strings.Lines(string(status)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("no VmRSS")
}

// Usage is what processes used, together, while something was measured.
type Usage struct {
	CPUSeconds float64 `json:"cpuSeconds"`
	Cores      float64 `json:"cores"` // kept busy on average
	// CPUPerMillion is CPU-seconds per million units of the work that was
	// measured.
	CPUPerMillion float64 `json:"cpuSecondsPerMillion"`
	RSSBytes      int64   `json:"rssBytes"` // at the end
}

// usageBetween returns what was used between two readings that lie elapsed apart,
// while so many units of work were done.
func usageBetween(before, after usage, elapsed time.Duration, work int64) *Usage {
	u := &Usage{CPUSeconds: (after.cpu - before.cpu).Seconds(), RSSBytes: after.rss}
	if elapsed > 0 {
		u.Cores = u.CPUSeconds / elapsed.Seconds()
	}
	if work > 0 {
		u.CPUPerMillion = u.CPUSeconds / float64(work) * 1e6
	}
	return u
}
