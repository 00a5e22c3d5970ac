package loadtest

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// OthersCPU returns the CPU time, since the machine was started, of everything
// but this process and those children of it that it has waited for. The
// difference between two calls is how much else ran between them.
func OthersCPU() (time.Duration, error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	busy, err := parseBusy(string(stat))
	if err != nil {
		return 0, fmt.Errorf("loadtest: /proc/stat: %w", err)
	}
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var used syscall.Rusage
		if err := syscall.Getrusage(who, &used); err != nil {
			return 0, fmt.Errorf("loadtest: getrusage: %w", err)
		}
		busy -= time.Duration(used.Utime.Nano() + used.Stime.Nano())
	}
	return busy, nil
}

// parseBusy returns the sum of the ticks of user, nice, system, irq, softirq and
// steal in the first line, without idle and iowait. Guests' time is part of user.
func parseBusy(stat string) (busy time.Duration, err error) {
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(line)
	const idle, iowait, steal = 4, 5, 8
	if len(fields) <= steal || fields[0] != "cpu" {
		return 0, fmt.Errorf("line %q, want cpu and %d numbers", line, steal)
	}
	for i, text := range fields[1 : steal+1] {
		ticks, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return 0, err
		}
		if i+1 != idle && i+1 != iowait {
			busy += time.Duration(ticks) * clockTick
		}
	}
	return busy, nil
}
