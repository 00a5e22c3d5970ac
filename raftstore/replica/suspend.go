package replica

// A suspension is the error with which serve ends on request of Suspend. done is
// to be closed once the instance is closed.
type suspension struct{ done chan struct{} }

func (suspension) Error() string { return "raftstore: suspended" }

// Suspend takes the replica down as if this node had lost it. Commands in its
// queue are not proposed. Suspend returns when the files are closed.
func (r *Replica) Suspend() error {
	closed := make(chan struct{})
	select {
	case r.suspend <- closed:
		<-closed
		return nil
	case <-r.stopping:
		return r.stoppedErr()
	case <-r.closed:
		return r.unavailable()
	}
}

// Resume lets a replica be opened again that Suspend took down. Ready tells when
// it serves.
func (r *Replica) Resume() error {
	select {
	case r.resume <- struct{}{}:
		return nil
	case <-r.stopping:
		return r.stoppedErr()
	case <-r.closed:
		return r.unavailable()
	}
}
