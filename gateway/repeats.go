package gateway

import (
	"slices"

	"github.com/belfry-im/belfry/shard/command"
)

// keptRequests is how many changing requests back a repeat is known, as many as
// the shard keeps answers of.
const keptRequests = 16

// repeats tells a repeat of a changing request from another one that uses its
// id anew, as a client may once it has its answer. It is owned by the read loop;
// a session that changes nothing but by sending has none.
type repeats struct {
	known []knownRequest // the last ones, oldest first
	fresh uint64         // requests that were no repeat
}

type knownRequest struct {
	id      uint64
	content uint64 // hash of what it asked
	request command.Request
}

// identity gives what the shard is to know a changing request by: what it knew
// the last one of that id by if that asked for the same, else something new.
func (p *repeats) identity(id, content uint64) command.Request {
	if i := p.find(id); i >= 0 && p.known[i].content == content {
		return p.known[i].request
	}
	p.used(id)
	if len(p.known) == keptRequests {
		p.known = slices.Delete(p.known, 0, 1)
	}
	p.fresh++
	const oddFraction = 0x9e3779b97f4a7c15 // spreads the counter over all bits
	r := command.Request{ID: id, Hash: content ^ p.fresh*oddFraction}
	p.known = append(p.known, knownRequest{id, content, r})
	return r
}

// used notes that another request has used an id: what it stood for before is
// not repeated any more.
func (p *repeats) used(id uint64) {
	if i := p.find(id); i >= 0 {
		p.known = slices.Delete(p.known, i, i+1)
	}
}

func (p *repeats) find(id uint64) int {
	return slices.IndexFunc(p.known, func(k knownRequest) bool { return k.id == id })
}
