package main

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// usableMemory returns how much memory the system lets this process take, in
// bytes: the least of its physical memory and the limits of the control groups
// that the process is in, of version 2 or 1. It reads the system's files below
// root.
func usableMemory(root string) (int64, error) {
	usable, err := physicalMemory(filepath.Join(root, "proc/meminfo"))
	if err != nil {
		return 0, err
	}
	groups, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return usable, nil // a system without control groups
	}
	for line := range strings.Lines(string(groups)) {
		// hierarchy:controllers:path, with 0 and no controller in version 2.
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) < 3 {
			continue
		}
		mount, file := "sys/fs/cgroup", "memory.max"
		if fields[1] != "" {
			mount, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
			if !strings.Contains(","+fields[1]+",", ",memory,") {
				continue
			}
		}
		// A group is also limited by those above it. Inside a container the path is
		// that of the host and may not be there, while the container's own group lies
		// at the root.
		for dir := path.Clean("/" + fields[2]); ; dir = path.Dir(dir) {
			text, err := os.ReadFile(filepath.Join(root, mount, dir, file))
			if n, bad := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && bad == nil && n > 0 {
				usable = min(usable, n) // no number: "max"
			}
			if dir == "/" {
				break
			}
		}
	}
	return usable, nil
}

func physicalMemory(file string) (int64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "MemTotal: %d kB", &kib); err == nil {
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("%s: no MemTotal", file)
}
