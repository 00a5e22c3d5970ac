//go:build linux || darwin

package admission

import (
	"net"

	"golang.org/x/sys/unix"
)

// unsentBytes is how many bytes the kernel may hold for a peer that does not read,
// besides those in flight. Without this limit a socket takes megabytes, which no Conn
// is charged for.
const unsentBytes = 64 << 10

// limitUnsent limits the unsent bytes that the kernel holds for a connection to
// unsentBytes.
func limitUnsent(c net.Conn) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	// If it fails, the kernel's default stays.
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentBytes)
	})
}
