package raftstore

import (
	"context"
	"time"
)

// diskEvery is the interval between two checks of the free space. The reserve
// must be many times what a node can write in it.
const diskEvery = time.Second

// watchDisk keeps diskLow up to date until ctx ends.
func (s *Store) watchDisk(ctx context.Context) {
	tick := time.NewTicker(diskEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.checkDisk()
		}
	}
}

func (s *Store) checkDisk() {
	free, err := freeBytes(s.cfg.Dir)
	if err != nil {
		s.cfg.Log.Error("free disk space unknown", "err", err)
		return
	}
	s.metrics.diskFree.Set(float64(free))
	low := free < s.cfg.DiskReserve
	if s.diskLow.Swap(low) == low {
		return
	}
	if low {
		s.metrics.diskLow.Set(1)
		s.cfg.Log.Error("disk nearly full: sends are refused", "free", free, "reserve", s.cfg.DiskReserve)
	} else {
		s.metrics.diskLow.Set(0)
		s.cfg.Log.Info("disk has room again", "free", free)
	}
}
