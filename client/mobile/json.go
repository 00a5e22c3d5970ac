package mobile

import (
	"encoding/json"

	"github.com/belfry-im/belfry/client"
	"github.com/belfry-im/belfry/gateway/protocol"
)

// A message is a protocol.Message in JSON.
type message struct {
	ID        string          `json:"id"`
	Conv      string          `json:"conv"`
	From      string          `json:"from"`
	Seq       uint64          `json:"seq"`
	Time      int64           `json:"time"`
	CID       string          `json:"cid"`
	Body      json.RawMessage `json:"body"`
	TTL       uint32          `json:"ttl,omitempty"`
	Ephemeral bool            `json:"ephemeral,omitempty"`
	Mentions  []string        `json:"mentions,omitempty"`
}

func messageOf(m *client.Message) *message {
	return &message{
		ID: m.ID.String(), Conv: m.Conv.String(), From: m.From, Seq: m.Seq, Time: m.Time, CID: string(m.CID),
		Body: bodyJSON(m.Body), TTL: m.TTL, Ephemeral: m.Ephemeral, Mentions: m.Mentions,
	}
}

// bodyJSON returns a body as the protocol writes it in JSON; null if it is none.
func bodyJSON(body []byte) json.RawMessage {
	var raw json.RawMessage
	if protocol.DecodeBody(body, &raw) != nil {
		return json.RawMessage("null")
	}
	return raw
}

func messagesJSON(list []client.Message) string {
	out := make([]*message, len(list))
	for i := range list {
		out[i] = messageOf(&list[i])
	}
	text, err := encode(out)
	if err != nil {
		return "[]" // cannot be: every field is valid JSON
	}
	return text
}

func page(p client.Page, err error) (string, error) {
	if err != nil {
		return "", err
	}
	type gap struct {
		From   uint64 `json:"from"`
		To     uint64 `json:"to"`
		Reason string `json:"reason"`
	}
	gaps := []gap{}
	for _, g := range p.Gaps {
		gaps = append(gaps, gap(g))
	}
	messages := []*message{}
	for i := range p.Messages {
		messages = append(messages, messageOf(&p.Messages[i]))
	}
	return encode(map[string]any{"messages": messages, "from": p.From, "to": p.To, "gaps": gaps, "more": p.More})
}

func encode(v any) (string, error) {
	text, err := json.Marshal(v)
	return string(text), err
}
