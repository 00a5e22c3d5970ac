//go:build unix

package nodes

import (
	"fmt"
	"syscall"
)

// Pause freezes the process with SIGSTOP, and returns once it stands still.
func (n *Node) Pause() error {
	if err := n.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	return awaitStopped(n.PID())
}

// Continue lets the process go on after Pause.
func (n *Node) Continue() error { return n.signal(syscall.SIGCONT) }

func (n *Node) signal(sig syscall.Signal) error {
	p := n.present()
	if p == nil {
		return fmt.Errorf("nodes: %s does not run", n)
	}
	return p.cmd.Process.Signal(sig)
}
