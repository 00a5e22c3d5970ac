//go:build linux || darwin

package admission

import (
	"net"

	"golang.org/x/sys/unix"
)

// unsentBytes is how much the kernel keeps for a peer that does not read, beyond what
// is on its way. Without this limit a socket takes megabytes, which nothing here
// counts.
const unsentBytes = 64 << 10

// limitUnsent limits what the kernel keeps of a connection that is not sent yet.
func limitUnsent(c net.Conn) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	// An error leaves the kernel its own limit.
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentBytes)
	})
}
