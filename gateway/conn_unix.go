//go:build unix

package gateway

import (
	"io"
	"net"
	"os"
	"syscall"
)

// rawConn is what receiveRaw waits on, nil for a socket that has bytes of its
// own to hold back, as TLS has.
func rawConn(socket net.Conn) syscall.RawConn {
	tcp, ok := socket.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// receiveRaw is receive for a raw socket. While it waits it holds no buffer, and
// its stack is shallow enough for the smallest there is.
func (c *conn) receiveRaw() error {
	var n int
	var err error
	waited := c.raw.Read(func(fd uintptr) bool {
		for {
			n, err = syscall.Read(int(fd), c.in.room())
			if err != syscall.EINTR {
				break
			}
		}
		if n > 0 {
			c.in.received(n)
			return true
		}
		c.in.release()
		return err != syscall.EAGAIN
	})
	switch {
	case waited != nil:
		return waited
	case err != nil:
		return os.NewSyscallError("read", err)
	case n == 0:
		return io.EOF
	}
	return nil
}
