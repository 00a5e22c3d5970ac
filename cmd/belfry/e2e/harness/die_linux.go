package harness

import (
	"os/exec"
	"syscall"
)

// DieWithTests has the kernel kill the server when the tests die without their
// clean-up, as after a time-out. The signal belongs to the thread that starts
// the process; the runtime ends none while the tests run.
func DieWithTests(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
