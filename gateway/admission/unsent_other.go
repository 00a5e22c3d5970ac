//go:build !linux && !darwin

package admission

import "net"

// limitUnsent does nothing: this kernel has no such limit.
func limitUnsent(net.Conn) {}
