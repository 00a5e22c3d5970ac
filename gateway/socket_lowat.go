//go:build linux || darwin

package gateway

import (
	"net"

	"golang.org/x/sys/unix"
)

// unsentBytes is how much the kernel takes for a peer that does not read, beyond
// what is on its way. Without it a socket takes megabytes, which no limit of ours
// counts.
const unsentBytes = 64 << 10

// tune bounds what the kernel keeps for a connection.
func tune(c net.Conn) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	// Where it is not known, more is kept.
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentBytes)
	})
}
