package wstest

import "fmt"

// A Message is a message object of the wire.
type Message struct {
	ID, Conv, From, CID string
	Seq, Time, TTL      int64
	Ephemeral           bool
	Body                any
}

// ParseMessages parses the message objects of v, a list as onNewMessage and
// getMessage have it. It fails if a message lacks a field.
func ParseMessages(v any) ([]Message, error) {
	list, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("messages = %v, want a list", v)
	}
	var messages []Message
	for _, e := range list {
		m, err := parseMessage(e)
		if err != nil {
			return nil, err
		}
		messages = append(messages, m)
	}
	return messages, nil
}

func parseMessage(v any) (m Message, err error) {
	o, _ := v.(Obj)
	m.ID, _ = o["id"].(string)
	m.Conv, _ = o["conv"].(string)
	m.From, _ = o["from"].(string)
	m.CID, _ = o["cid"].(string)
	m.Seq, _ = o["seq"].(int64)
	m.Time, _ = o["time"].(int64)
	m.TTL, _ = o["ttl"].(int64)
	m.Ephemeral, _ = o["ephemeral"].(bool)
	body, hasBody := o["body"]
	m.Body = body
	if m.ID == "" || m.Conv == "" || m.From == "" || m.Time == 0 || !hasBody || (m.Seq == 0) != m.Ephemeral {
		return m, fmt.Errorf("message %v misses a field", v)
	}
	return m, nil
}

// History returns one page of conv; args are those of getMessage beyond conv.
func (c *Client) History(conv string, args Obj) (messages []Message, page Obj) {
	c.T.Helper()
	with := Obj{"conv": conv}
	for k, v := range args {
		with[k] = v
	}
	page = c.Request("getMessage", with)
	messages, err := ParseMessages(page["messages"])
	c.Must(err, "getMessage")
	return messages, page
}

// AllHistory returns all messages of conv, page by page.
func (c *Client) AllHistory(conv string) (messages []Message) {
	c.T.Helper()
	after := int64(0)
	for {
		page, reply := c.History(conv, Obj{"after": after, "limit": 100})
		messages = append(messages, page...)
		to := Num(c.T, reply, "to")
		if reply["more"] != true {
			return messages
		}
		if to <= after {
			c.T.Fatalf("%s: getMessage after %d covers up to %d and says more", c.Name(), after, to)
		}
		after = to
	}
}
