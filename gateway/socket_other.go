//go:build !linux && !darwin

package gateway

import "net"

// tune bounds what the kernel keeps for a connection, where that is known how.
func tune(net.Conn) {}
