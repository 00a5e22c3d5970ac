package nodes

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// dieWithParent makes the kernel kill a node, also a frozen one, when the thread
// that started it ends; the Go runtime ends no thread before the process.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// stopPatience bounds the wait for a process that was told to stop.
const stopPatience = 5 * time.Second

// awaitStopped waits until all threads of a process are stopped: a signal is only
// on its way when it is sent.
func awaitStopped(pid int) error {
	for until := time.Now().Add(stopPatience); ; time.Sleep(time.Millisecond) {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		if err != nil {
			return err
		}
		running := len(threads) == 0
		for _, path := range threads {
			stat, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			// pid (name) state …; the name may hold anything
			rest := stat[bytes.LastIndexByte(stat, ')')+1:]
			running = running || !bytes.HasPrefix(rest, []byte(" T"))
		}
		if !running {
			return nil
		}
		if time.Now().After(until) {
			return fmt.Errorf("nodes: process %d was not stopped within %v", pid, stopPatience)
		}
	}
}
