package client

import (
	"errors"
	"time"

	"github.com/belfry-im/belfry/gateway/protocol"
)

// A call is one request until its final answer. It may be written on several
// connections, and again after temporary refusals.
type call struct {
	op   string
	args protocol.Args
	send *protocol.SendArgs // the args of a send; nil for every other request
	// sent is called with the answer to a send; the answer to any other request
	// is decoded into ok, unless that is nil. Either happens before done is
	// closed.
	sent func(protocol.SendOK)
	ok   payload
	// tied binds a request to the connection of the moment: on a later one it
	// would come too late (ttl 0) or mean something else (a refreshed token).
	tied bool
	done chan struct{} // closed when the call has ended

	// kept says that a send is in the outbox on disk, and restored that an earlier process
	// has put it there, at the time queued.
	kept, restored bool
	queued         time.Time
	outgoing       *Outgoing // of a send
	login          uint64    // with a store: number of the login in whose session the answer came

	// Guarded by outbox.mu; err is free to read once done is closed.
	id       uint64 // of the request; the older of two calls has the lower
	entry    uint64 // its place in the outbox on disk, if kept
	saving   bool   // it is on its way to the disk, and not to be written before
	unsent   bool   // it was canceled before it was written
	state    callState
	written  time.Time   // for the first time; zero before
	refusals int         // temporary ones so far
	refused  *Error      // the last of them
	pause    *time.Timer // runs in callPausing
	err      error
}

// A payload is a struct of the protocol that can decode itself from a frame.
type payload interface{ Decode(protocol.Raw) error }

type callState uint8

const (
	callBehind   callState = iota // an older send to the conversation is unanswered
	callReady                     // to be written
	callInFlight                  // written on the present connection
	callPausing                   // refused for the moment; ready again when pause is over
	callDone
)

// maybeDone reports whether the call may have been carried out although no final
// answer came. "unavailable" is not final: whoever answers so may not know the
// outcome.
func (c *call) maybeDone() bool { return !c.written.IsZero() }

// undone reports whether the call was canceled and is on disk still.
func (c *call) undone() bool {
	select {
	case <-c.done:
		return false
	default:
		return c.kept && errors.Is(c.err, ErrCanceled)
	}
}

// readAnswer decodes the answer to the call into ok, or passes it to sent.
func (c *call) readAnswer(answer protocol.Raw) error {
	if c.send == nil {
		if c.ok == nil {
			return nil
		}
		return c.ok.Decode(answer)
	}
	var ok protocol.SendOK
	if err := ok.Decode(answer); err != nil {
		return err
	}
	c.sent(ok)
	return nil
}
