package harness

import (
	"os/exec"
	"syscall"
)

// DieWithTests makes the kernel kill the server when the tests die without
// their clean-up, as after a time-out. The kernel does so when the thread that
// started the process ends; the Go runtime ends no threads while the tests
// run.
func DieWithTests(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
