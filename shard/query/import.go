package query

import "time"

// An ImportStatus is what an importer has to know about a conversation.
type ImportStatus struct {
	AcceptsRows bool          // more rows of the stream can be imported
	Row         uint64        // number of the stream's last row that was imported; 0 = none
	Next        uint64        // seq of the next entry
	LastTime    int64         // ms; the time of the next row must not be lower
	HistoryTTL  time.Duration // how long messages are kept
	Cutoff      int64         // ms; messages up to this time are evicted at once
}
