package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestUsableMemory(t *testing.T) {
	const meminfo = "MemTotal:        4194304 kB\nMemFree:          100 kB\n"
	for name, c := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"no control groups": {map[string]string{"proc/meminfo": meminfo}, 4 << 30},
		"version 2, limited above": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/work/server\n",
			"sys/fs/cgroup/work/server/memory.max": "max\n", "sys/fs/cgroup/work/memory.max": "1073741824\n",
		}, 1 << 30},
		"version 2, in a container": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "536870912\n",
		}, 512 << 20},
		"version 1": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "5:cpuset,memory:/box\n3:cpu:/small\n0::/\n",
			"sys/fs/cgroup/memory/box/memory.limit_in_bytes":   "268435456\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":       "9223372036854771712\n",
			"sys/fs/cgroup/memory/small/memory.limit_in_bytes": "1\n",
		}, 256 << 20},
		"version 1, the path is the host's": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "5:memory:/docker/abc\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "268435456\n",
		}, 256 << 20},
		"a limit above what there is": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "99999999999\n",
		}, 4 << 30},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for file, content := range c.files {
				path := filepath.Join(root, file)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got, err := usableMemory(root); err != nil || got != c.want {
				t.Errorf("usableMemory = %d, %v; want %d", got, err, c.want)
			}
		})
	}
	if _, err := usableMemory(t.TempDir()); err == nil {
		t.Error("usableMemory without /proc succeeded")
	}
}
