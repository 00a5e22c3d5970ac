package gateway

import "testing"

func TestTypingInGroupsIsLimited(t *testing.T) {
	var s session
	s.gateway = newBareGateway(t, newTestStore(t))
	passed := 0
	for range 100 {
		if s.allowTyping() {
			passed++
		}
	}
	if passed != typingBurst {
		t.Errorf("%d of 100 notices passed at once, want %d", passed, typingBurst)
	}
}
