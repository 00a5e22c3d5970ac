package client

import (
	"math/rand/v2"
	"time"
)

// A backoff grows the pause between attempts: the n-th is drawn from the whole
// of 0 … min(most, least×2ⁿ). Full jitter spreads clients that lost the same
// server at the same moment over the whole pause.
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

// spread adds up to a quarter to a pause the server named, so that those who
// were told the same do not come back as one.
func spread(pause time.Duration) time.Duration {
	return pause + rand.N(pause/4+1)
}
