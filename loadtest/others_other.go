//go:build !linux

package loadtest

import (
	"errors"
	"time"
)

// OthersCPU cannot tell here.
func OthersCPU() (time.Duration, error) { return 0, errors.ErrUnsupported }
