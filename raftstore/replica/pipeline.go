package replica

import "time"

const (
	// maxInFlight bounds the entries of one replica that are on their way through Raft.
	// Commands that come when there are so many wait in the queue.
	maxInFlight = 4
	// followAfter is how long an entry has been on its way before another one follows.
	// When disks and network are faster than that, commands gather as if there were no
	// pipeline, and entries stay large.
	followAfter = 300 * time.Microsecond
	// An entry of fewer than followCommands waits for longer, until half of the time has
	// passed that the last one took, or followMost: it costs the replicas as much CPU as
	// some 60 commands.
	followCommands = 128
	followMost     = 5 * time.Millisecond
)

// launch proposes entries in a pipeline until the proposer is closed, and sends them to
// launched.
//
// A leader writes an entry, sends it, and the others write it, one after the other. The
// leader's disk is idle while an entry is with the others, so the next one follows as
// soon as the log has been written: before that Raft would not take it, and commands can
// as well still join it.
func (p *proposer) launch(launched chan<- *batch) {
	defer close(launched)
	pace := time.NewTimer(followAfter)
	defer pace.Stop()
	for {
		b, pause, ok := p.follow()
		switch {
		case b != nil:
			b.wait = p.propose(b)
			launched <- b
		case !ok:
			return
		case pause > 0:
			pace.Reset(pause)
			select {
			case <-p.wake:
			case <-pace.C:
			}
		default:
			<-p.wake
		}
	}
}

// follow is next for the pipeline. pause is after which time to look again, if there is
// something to propose; 0: when wake tells.
func (p *proposer) follow() (b *batch, pause time.Duration, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.urgent && p.flying > 0 {
		if p.flying == maxInFlight || p.writing() {
			return nil, 0, true
		}
		pause = followAfter
		if len(p.queue[0].waiters) < followCommands {
			pause = min(max(pause, p.took/2), followMost)
		}
		full := len(p.queue) > 1 // nothing can join its first batch
		if pause -= time.Since(p.launched); pause > 0 && !full {
			return nil, pause, true
		}
	}
	if b, ok = p.take(); b != nil {
		p.flying++
		p.launched = time.Now()
		b.launched = p.launched
	}
	return b, 0, ok
}

// land answers entries in the order in which they were launched.
func (p *proposer) land(launched <-chan *batch) {
	for b := range launched {
		err := b.wait()
		if err != nil {
			p.fail()
		}
		observe(p.latency, b.opened)
		p.landed(b)
		p.answer(b, err)
	}
}

func (p *proposer) landed(b *batch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flying--
	p.took = time.Since(b.launched)
	if p.urgent {
		p.signal()
	}
}

// wrote has to be called when the log has been written.
func (p *proposer) wrote() {
	if p.writing == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.urgent {
		p.signal()
	}
}
