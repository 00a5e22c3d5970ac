package replica

// A suspension ends an instance on request; done is closed when it has ended.
type suspension struct{ done chan struct{} }

func (suspension) Error() string { return "raftstore: suspended" }

// Suspend takes the replica down as if this node had lost it; what is queued is
// not proposed. It returns when the files are closed.
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

// Resume has a replica opened that Suspend took down. Ready tells when it serves.
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
