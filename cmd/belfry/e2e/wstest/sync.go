package wstest

// A Synced holds what is pushed after a login: onSynced, and everything
// before it.
type Synced struct {
	Args     Obj // of onSynced
	Messages []Message
	Changes  []Push // pushes other than onNewMessage, in order

	Offline, UnreadTotal int64
	Reset                bool
	Lost                 []any // [{conv, from, to, count}]
	Conversations        []Obj // nil when absent
}

// Sync takes all pushes up to onSynced.
func (c *Client) Sync() *Synced {
	c.T.Helper()
	y := &Synced{}
	for {
		p := c.Next()
		switch p.Op {
		case "onNewMessage":
			y.Messages = append(y.Messages, c.OnNewMessage(p.Args)...)
		case "onSynced":
			y.Args = p.Args
			y.Offline = Num(c.T, p.Args, "offline")
			y.UnreadTotal = Num(c.T, p.Args, "unreadTotal")
			y.Reset, _ = p.Args["reset"].(bool)
			y.Lost, _ = p.Args["lost"].([]any)
			list, _ := p.Args["conversations"].([]any)
			if list != nil {
				y.Conversations = []Obj{}
			}
			for _, e := range list {
				y.Conversations = append(y.Conversations, e.(Obj))
			}
			c.onSynced(p.Args)
			return y
		default:
			y.Changes = append(y.Changes, p)
		}
	}
}
