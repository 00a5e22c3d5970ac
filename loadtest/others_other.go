//go:build !linux

package loadtest

import (
	"errors"
	"time"
)

// OthersCPU is not supported here.
func OthersCPU() (time.Duration, error) { return 0, errors.ErrUnsupported }
