//go:build !linux && !darwin

package admission

import "net"

// limitUnsent does nothing: the kernel has no such limit.
func limitUnsent(net.Conn) {}
