package conformance

import (
	"encoding/json"
	"fmt"
)

// A checker holds the frames of one device to rules that hold in every scenario:
//
//   - acks name what was pushed, and only rise;
//   - a message that is sent again has the same cid and body as before;
//   - no request brings a seq that the device held when it made the request.
//
// A device holds what it has acked, what pages have brought, and what it has sent.
type checker struct {
	storeless  bool
	held       map[string]map[int64]bool
	sent       map[string]string // by conversation and cid: the body
	sessions   map[int]*pushed   // by connection
	asked      map[*Frame]map[int64]bool
	violations []string
}

// pushed is what one session was pushed and has not acked.
type pushed struct {
	d, acked int64
	waiting  map[int64][]Obj // messages by delivery number
}

func (c *checker) reset() {
	c.held = make(map[string]map[int64]bool)
	c.asked = make(map[*Frame]map[int64]bool)
	if c.sent == nil {
		c.sent = make(map[string]string)
		c.sessions = make(map[int]*pushed)
	}
}

func (c *checker) violate(format string, args ...any) {
	c.violations = append(c.violations, fmt.Sprintf(format, args...))
}

func (c *checker) connected(number int) { c.sessions[number] = &pushed{waiting: make(map[int64][]Obj)} }

func (c *checker) disconnected(number int) { delete(c.sessions, number) }

func (c *checker) hold(conv string, seq int64) {
	if seq == 0 {
		return
	}
	if c.held[conv] == nil {
		c.held[conv] = make(map[int64]bool)
	}
	c.held[conv][seq] = true
}

func (c *checker) see(f *Frame) {
	s := c.sessions[f.Conn]
	if s == nil {
		return
	}
	switch {
	case f.FromClient && f.Op == "ack":
		c.ack(s, Int(f.Body["d"]))
	case f.FromClient && f.Op == "send":
		c.send(f)
	case f.FromClient && f.Op == "getMessage":
		conv, _ := f.Body["conv"].(string)
		before := make(map[int64]bool, len(c.held[conv]))
		for seq := range c.held[conv] {
			before[seq] = true
		}
		c.asked[f] = before
	case f.Reply && f.Op == "getMessage" && f.Code == "":
		c.page(f)
	case f.Reply && f.Op == "send" && f.Code == "":
		conv, _ := f.request.Body["conv"].(string)
		c.hold(conv, Int(f.Body["seq"]))
	case !f.FromClient && f.Op == "onNewMessage":
		s.d = Int(f.Body["d"])
		list, _ := f.Body["messages"].([]any)
		for _, m := range list {
			s.waiting[s.d] = append(s.waiting[s.d], m.(Obj))
		}
	}
}

func (c *checker) ack(s *pushed, d int64) {
	if d <= s.acked || d > s.d {
		c.violate("ack of %d after %d, with %d pushed", d, s.acked, s.d)
	}
	s.acked = d
	for n, list := range s.waiting {
		if n > d {
			continue
		}
		for _, m := range list {
			conv, _ := m["conv"].(string)
			c.hold(conv, Int(m["seq"]))
		}
		delete(s.waiting, n)
	}
}

func (c *checker) send(f *Frame) {
	conv, _ := f.Body["conv"].(string)
	cid, _ := f.Body["cid"].(string)
	body, _ := json.Marshal([]any{f.Body["body"], f.Body["ttl"], f.Body["mentions"]})
	key := conv + " " + cid
	if before, ok := c.sent[key]; ok && before != string(body) {
		c.violate("%s was sent as %s and then as %s", key, before, body)
	}
	if _, ok := c.sent[key]; !ok {
		c.sent[key] = string(body)
	}
}

// page checks what a reply covers against what was held when its request was made.
func (c *checker) page(f *Frame) {
	conv, _ := f.request.Body["conv"].(string)
	before := c.asked[f.request]
	delete(c.asked, f.request)
	from, to := Int(f.Body["from"]), Int(f.Body["to"])
	for seq := from; seq <= to && from > 0; seq++ {
		if before[seq] && !c.storeless {
			c.violate("the device has %d of %s and fetched it again: %v", seq, conv, f.request)
			break
		}
	}
	for seq := from; seq <= to && from > 0; seq++ {
		c.hold(conv, seq)
	}
}
