package shard

// agesKept is the number of minutes that an ages tells apart: eight days, one
// more than what is kept lives by default.
const agesKept = 8 * 24 * 60

const minuteMS = 60_000

// An ages holds the bytes of a shard's logs by the minute of the messages' time,
// so that a cutoff can be found that frees so many. Messages older than the
// minutes it tells apart count in the oldest. It is derived from the logs.
type ages struct {
	newest  int64 // minute of the newest message ever added
	total   int   // bytes
	minutes [agesKept]int
}

func (a *ages) oldest() int64 { return a.newest - agesKept + 1 }

func (a *ages) bucket(minute int64) *int {
	return &a.minutes[((minute%agesKept)+agesKept)%agesKept]
}

// add counts n bytes of a message of a time, in ms; n is negative when it goes.
func (a *ages) add(timeMS int64, n int) {
	minute := timeMS / minuteMS
	if minute > a.newest {
		a.advance(minute)
	}
	a.total += n
	*a.bucket(max(minute, a.oldest())) += n
}

// advance makes room for a newer minute: what leaves the range at its end is
// counted in the oldest minute that is left.
func (a *ages) advance(minute int64) {
	folded := 0
	for range min(minute-a.newest, agesKept) {
		old := a.bucket(a.oldest())
		folded += *old
		*old = 0
		a.newest++
	}
	a.newest = minute
	*a.bucket(a.oldest()) += folded
}

// cutoff gives a time at or below which messages of about n bytes lie, above
// the cutoff that is in force; nothing is held below that. Within a minute the
// bytes count as spread evenly, up to now.
func (a *ages) cutoff(n int, inForce, now int64) int64 {
	for minute := a.oldest(); minute <= a.newest; minute++ {
		held := *a.bucket(minute)
		if held < n {
			n -= held
			continue
		}
		from := max(minute*minuteMS, inForce+1)
		to := max(min((minute+1)*minuteMS-1, now), from)
		return from + int64(float64(to-from)*float64(n)/float64(max(held, 1)))
	}
	return now
}
