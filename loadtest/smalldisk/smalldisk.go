//go:build linux

// Package smalldisk gives tests a disk that can be filled: a tmpfs of a few MiB
// that only the process and its children see.
//
// Mounting needs privileges that an ordinary user has only in a user namespace,
// and a process of several threads cannot enter one. So a program that wants a
// Disk runs itself again with Command, which makes the namespaces for it; in
// there Inside is true, and Mount works for root and for everybody else. The
// mounts end with the last process that sees them. A system that forbids user
// namespaces to ordinary users makes Command's process fail to start.
package smalldisk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// inside is set in the environment of what Command runs.
const inside = "BELFRY_SMALLDISK_INSIDE"

// Inside tells whether this process was started by Command.
func Inside() bool { return os.Getenv(inside) != "" }

// Command is this program with other arguments, in a mount namespace of its own
// and, unless started by root, in a user namespace in which it is root. It is
// killed when ctx ends or its parent dies.
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
	fill string // the file that takes the room
}

// Mount mounts a tmpfs of size bytes on dir, which has to exist. It refuses
// outside of what Command runs, where others would see it.
func Mount(dir string, size int64) (*Disk, error) {
	if !Inside() {
		return nil, errors.New("smalldisk: Mount: want a process that Command has started")
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("smalldisk: make mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		return nil, fmt.Errorf("smalldisk: mount tmpfs on %s: %w", dir, err)
	}
	return &Disk{Dir: dir, fill: filepath.Join(dir, "fill")}, nil
}

// Unmount ends the disk and what it holds.
func (d *Disk) Unmount() error { return unix.Unmount(d.Dir, unix.MNT_DETACH) }

// Room is how many bytes are free.
func (d *Disk) Room() (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(d.Dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

// fillPatience bounds how long Fill runs after others who take and free room.
const fillPatience = time.Second

// Fill takes all room but about leave bytes, rounded down to whole pages.
func (d *Disk) Fill(leave int64) error {
	f, err := os.OpenFile(d.fill, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	page := int64(os.Getpagesize())
	leave -= leave % page
	for until := time.Now().Add(fillPatience); ; {
		room, err := d.Room()
		if err != nil || room <= leave {
			return err
		}
		info, err := f.Stat()
		if err != nil {
			return err
		}
		err = unix.Fallocate(int(f.Fd()), 0, info.Size(), room-leave)
		if err != nil && !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("smalldisk: fill: %w", err)
		}
		if time.Now().After(until) {
			return fmt.Errorf("smalldisk: fill: %d bytes are free after %v, want %d", room, fillPatience, leave)
		}
	}
}

// Free gives back what Fill took.
func (d *Disk) Free() error {
	err := os.Remove(d.fill)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
