package client

import (
	"math/rand/v2"
	"time"
)

// A backoff chooses the pauses between attempts. The n-th, from 0, is random
// between 0 and min(most, least×2ⁿ): this full jitter spreads out clients that
// lost the same server at the same moment.
type backoff struct {
	least, most time.Duration
	attempts    int
}

func (b *backoff) next() time.Duration {
	ceiling := b.most
	// Beyond 2^20 the ceiling is most for any sane pair; the bound keeps the
	// shift from overflowing.
	if b.attempts < 20 {
		ceiling = min(b.most, b.least<<b.attempts)
	}
	b.attempts++
	return rand.N(ceiling + 1)
}

func (b *backoff) reset() { b.attempts = 0 }

// spread returns a pause that the server named plus up to a quarter of it, at
// random: clients that were told the same pause must not all come back together.
func spread(pause time.Duration) time.Duration {
	return pause + rand.N(pause/4+1)
}
