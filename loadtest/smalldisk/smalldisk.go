//go:build linux

// Package smalldisk provides tests with a disk that can be filled: a tmpfs of a few MiB
// that only the process and its children see.
//
// Mounting needs privileges that an ordinary user has only in a user namespace,
// and a process of several threads cannot enter one. So a program that wants a
// Disk runs itself again with Command, which makes the namespaces for it; in that
// process Inside returns true, and Mount works for root and for everybody else.
// The mounts end with the last process that sees them. A system that forbids user
// namespaces to ordinary users makes Command's process fail to start.
package smalldisk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// inside is the environment variable that Command sets for its process.
const inside = "BELFRY_SMALLDISK_INSIDE"

// Inside reports whether this process was started by Command.
func Inside() bool { return os.Getenv(inside) != "" }

// Command returns a command that runs this program with other arguments, in a
// mount namespace of its own and, unless started by root, in a user namespace in
// which it is root. The process is killed when ctx ends or its parent dies.
func Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return cmd
}

// A Disk is a mounted tmpfs. Its methods are for one goroutine at a time.
type Disk struct {
	Dir  string
	size int64
}

// Mount mounts a tmpfs of size bytes on dir, which has to exist. Outside of a
// process that Command started it returns an error: others would see the mount.
func Mount(dir string, size int64) (*Disk, error) {
	if !Inside() {
		return nil, errors.New("smalldisk: Mount: want a process that Command has started")
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("smalldisk: make mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, sized(size)); err != nil {
		return nil, fmt.Errorf("smalldisk: mount tmpfs on %s: %w", dir, err)
	}
	return &Disk{Dir: dir, size: size}, nil
}

func sized(bytes int64) string { return fmt.Sprintf("size=%d", bytes) }

// Unmount ends the disk and what it holds.
func (d *Disk) Unmount() error { return unix.Unmount(d.Dir, unix.MNT_DETACH) }

// usage returns the bytes that are taken and those that are free.
func (d *Disk) usage() (used, free int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(d.Dir, &st); err != nil {
		return 0, 0, err
	}
	return int64(st.Blocks-st.Bfree) * st.Bsize, int64(st.Bavail) * st.Bsize, nil
}

// fillPatience bounds how long Fill tries again while others take room, too.
const fillPatience = time.Second

// Fill leaves at most so many bytes free, rounded down to whole pages. It shrinks
// the disk, which takes no memory and no time.
func (d *Disk) Fill(leave int64) error {
	page := int64(os.Getpagesize())
	leave -= leave % page
	for until := time.Now().Add(fillPatience); ; {
		used, free, err := d.usage()
		if err != nil || free <= leave {
			return err
		}
		// A tmpfs of size 0 has no limit.
		err = d.resize(max(used+leave, page))
		if err == nil {
			return nil
		}
		// EINVAL means that more was taken meanwhile.
		if !errors.Is(err, unix.EINVAL) || time.Now().After(until) {
			return err
		}
	}
}

// Free sets the disk back to the size that it was made with.
func (d *Disk) Free() error { return d.resize(d.size) }

func (d *Disk) resize(size int64) error {
	if err := unix.Mount("tmpfs", d.Dir, "tmpfs", unix.MS_REMOUNT, sized(size)); err != nil {
		return fmt.Errorf("smalldisk: resize to %d bytes: %w", size, err)
	}
	return nil
}
