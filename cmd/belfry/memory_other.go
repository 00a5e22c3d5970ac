//go:build !linux

package main

import (
	"fmt"
	"runtime"
)

func usableMemory(string) (int64, error) {
	return 0, fmt.Errorf("not known on %s", runtime.GOOS)
}
