package link

import (
	"net"
	"slices"
	"sync"
)

// A crowd is the connections of those who have not shown yet, or cannot show, that they
// are nodes of the cluster. There are at most max of them. One more closes the oldest of
// the address that then has the most: so whoever comes from one address keeps nobody out
// who comes from another, and whoever is new has some time even at the same one.
type crowd struct {
	mu     sync.Mutex
	max    int
	guests []*guest // the oldest first
}

// A guest is one connection in a crowd.
type guest struct {
	host string // without a port
	end  func() // closes the connection; it is called without a lock held
	out  bool   // it had to go; guarded by crowd.mu
}

func newGuest(raw net.Conn, end func()) *guest {
	address := raw.RemoteAddr().String()
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	return &guest{host: host, end: end}
}

// enter adds g and returns whose connection the caller has to end for it, nil if there is
// room.
func (c *crowd) enter(g *guest) (out *guest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.guests) >= c.max {
		of := map[string]int{g.host: 1}
		for _, other := range c.guests {
			of[other.host]++
		}
		oldest := 0
		for i, other := range c.guests {
			if of[other.host] > of[c.guests[oldest].host] {
				oldest = i
			}
		}
		out = c.guests[oldest]
		out.out = true
		c.guests = slices.Delete(c.guests, oldest, oldest+1)
	}
	c.guests = append(c.guests, g)
	return out
}

// leave removes g, if it is still there.
func (c *crowd) leave(g *guest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.guests, g); i >= 0 {
		c.guests = slices.Delete(c.guests, i, i+1)
	}
}

// isOut reports whether g had to go for another one.
func (c *crowd) isOut(g *guest) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return g.out
}

func (c *crowd) size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.guests)
}
