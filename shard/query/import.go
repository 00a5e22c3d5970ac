package query

import "time"

// An ImportStatus is what an import has to know about a conversation.
type ImportStatus struct {
	AcceptsRows bool          // further rows of the stream can be imported
	Row         uint64        // number of the last row that was imported from the stream; 0 = none
	Next        uint64        // seq of the next entry
	LastTime    int64         // ms; further rows must not be older
	HistoryTTL  time.Duration // how long messages are kept
	Cutoff      int64         // ms; messages up to this time are evicted
}
