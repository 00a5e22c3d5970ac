package gateway

import (
	"slices"

	"github.com/belfry-im/belfry/shard/command"
)

// keptRequests is how many changing requests are kept to recognize repeats, as many as
// the shard keeps answers of.
const keptRequests = 16

// repeats recognizes repeats of changing requests. A client may use an id again for
// another request once it has the answer, so the content is compared too. It is owned by
// the read loop; a session that only sends has none.
type repeats struct {
	known []knownRequest // the last ones, oldest first
	fresh uint64         // requests that were no repeat
}

type knownRequest struct {
	id      uint64
	content uint64 // hash of what it asked
	request command.Request
}

// identity returns what the shard recognizes a changing request by: that of the last
// request with the same id if the content is the same, else a new one.
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

// used notes that another request has used an id, so that the one before it cannot be
// repeated any more.
func (p *repeats) used(id uint64) {
	if i := p.find(id); i >= 0 {
		p.known = slices.Delete(p.known, i, i+1)
	}
}

func (p *repeats) find(id uint64) int {
	return slices.IndexFunc(p.known, func(k knownRequest) bool { return k.id == id })
}
