package query

import "time"

// An ImportStatus is a conversation as an import finds it.
type ImportStatus struct {
	AcceptsRows bool          // it takes further rows
	Row         uint64        // of the stream, the last one that it has had; 0 = none
	Next        uint64        // seq of the next entry
	LastTime    int64         // ms, below which no further row may be
	HistoryTTL  time.Duration // how long its messages are kept
	Cutoff      int64         // ms, messages up to here are gone
}
