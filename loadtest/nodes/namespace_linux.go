package nodes

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// A namespace is a network of its own, which has nothing but its loopback. Nil is
// that of this process.
type namespace struct{ file *os.File }

// threadNet is the network namespace of the thread that opens it.
const threadNet = "/proc/thread-self/ns/net"

func newNamespace() (*namespace, error) {
	ns := new(namespace)
	err := onThread(func() error { return unix.Unshare(unix.CLONE_NEWNET) }, func() (err error) {
		if err := loopbackUp(); err != nil {
			return err
		}
		ns.file, err = os.Open(threadNet)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("nodes: network namespace: %w", err)
	}
	return ns, nil
}

// do calls what on a thread in the namespace: sockets that it opens and processes
// that it starts belong there.
func (ns *namespace) do(what func() error) error {
	if ns == nil {
		return what()
	}
	return onThread(func() error { return unix.Setns(int(ns.file.Fd()), unix.CLONE_NEWNET) }, what)
}

func (ns *namespace) close() error { return ns.file.Close() }

// onThread calls enter, which changes the thread's namespace, and what, and takes
// the thread back to where it was.
func onThread(enter, what func() error) error {
	runtime.LockOSThread()
	home, err := os.Open(threadNet)
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer home.Close()
	err = enter()
	if err == nil {
		err = what()
	}
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		// The thread stays locked, so that nothing else runs on it.
		return errors.Join(err, fmt.Errorf("leave the network namespace: %w", back))
	}
	runtime.UnlockOSThread()
	return err
}

// loopbackUp starts the loopback of the thread's namespace.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}
