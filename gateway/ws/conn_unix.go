//go:build unix

package ws

import (
	"io"
	"net"
	"os"
	"syscall"

	"github.com/belfry-im/belfry/gateway/admission"
)

// rawConn returns the raw connection that receiveRaw waits for. It is nil if the
// socket has a buffer, as with TLS.
func rawConn(socket net.Conn) syscall.RawConn {
	admitted, ok := socket.(*admission.Conn)
	if !ok {
		return nil
	}
	tcp, ok := admitted.Conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// receiveRaw is Receive with raw set. While it waits, it holds no buffer and needs a
// small stack.
func (c *Conn) receiveRaw() error {
	var n int
	var err error
	waited := c.raw.Read(func(fd uintptr) bool {
		for {
			n, err = syscall.Read(int(fd), c.in.space())
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

// An attempt is a write that does not wait. It is reused, since its closure would be
// allocated for every write.
type attempt struct {
	bytes []byte
	n     int
	err   error
	write func(fd uintptr) bool
}

func (a *attempt) run(fd uintptr) bool {
	for {
		a.n, a.err = syscall.Write(int(fd), a.bytes)
		if a.err != syscall.EINTR {
			return true
		}
	}
}

// tryWrite writes as much as the socket takes without waiting, and returns how many
// bytes that was.
func (c *Conn) tryWrite(b []byte) (int, error) {
	a := &c.attempt
	if a.write == nil {
		a.write = a.run
	}
	a.bytes = b
	err := c.raw.Write(a.write)
	a.bytes = nil
	switch {
	case err != nil:
		return 0, err
	case a.err == syscall.EAGAIN:
		return 0, nil
	case a.err != nil:
		return 0, os.NewSyscallError("write", a.err)
	}
	return a.n, nil
}
