package main

import (
	"io/fs"
	"testing"
)

func TestCgroupMemory(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		want  int64
	}{
		{"none", nil, 0},
		{"version 2", map[string]string{
			"/proc/self/cgroup": "0::/system.slice/culvert.service\n",
			"/sys/fs/cgroup/system.slice/culvert.service/memory.max": "134217728\n",
			"/sys/fs/cgroup/system.slice/memory.max":                 "max\n",
		}, 128 << 20},
		{"version 2, less above", map[string]string{
			"/proc/self/cgroup":             "0::/a/b\n",
			"/sys/fs/cgroup/a/b/memory.max": "134217728\n",
			"/sys/fs/cgroup/a/memory.max":   "67108864\n",
		}, 64 << 20},
		{"version 2, in a container", map[string]string{
			"/proc/self/cgroup":         "0::/\n",
			"/sys/fs/cgroup/memory.max": "134217728\n",
		}, 128 << 20},
		{"version 2 without a limit", map[string]string{
			"/proc/self/cgroup":           "0::/a\n",
			"/sys/fs/cgroup/a/memory.max": "max\n",
		}, 0},
		{"version 1", map[string]string{
			"/proc/self/cgroup":                             "5:cpu,cpuacct:/a\n4:memory:/a\n1:name=systemd:/a\n",
			"/sys/fs/cgroup/memory/a/memory.limit_in_bytes": "134217728\n",
			"/sys/fs/cgroup/memory/memory.limit_in_bytes":   "9223372036854771712\n",
		}, 128 << 20},
		{"version 1 without a limit", map[string]string{
			"/proc/self/cgroup":                             "4:memory:/a\n",
			"/sys/fs/cgroup/memory/a/memory.limit_in_bytes": "9223372036854771712\n",
		}, 0},
		{"nonsense", map[string]string{"/proc/self/cgroup": "\n::\n0\n"}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := cgroupMemory(func(name string) ([]byte, error) {
				text, ok := tt.files[name]
				if !ok {
					return nil, fs.ErrNotExist
				}
				return []byte(text), nil
			})
			if got != tt.want {
				t.Errorf("%d bytes, want %d", got, tt.want)
			}
		})
	}
}
