package gateway

import (
	"net/http/httptest"
	"slices"
	"testing"
)

func TestContentionProfile(t *testing.T) {
	var rates []int
	var second int
	p := &contentionProfile{name: "mutex", rate: 7}
	p.setRate = func(rate int) {
		rates = append(rates, rate)
		if rate > 0 {
			w := httptest.NewRecorder()
			p.ServeHTTP(w, httptest.NewRequest("GET", "/debug/pprof/mutex", nil))
			second = w.Code
		}
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, httptest.NewRequest("GET", "/debug/pprof/mutex?seconds=1", nil))
	if w.Code != 200 || w.Body.Len() == 0 {
		t.Errorf("a profile of 1 s = %d with %d bytes, want 200 and a profile", w.Code, w.Body.Len())
	}
	if second != 409 {
		t.Errorf("a second one meanwhile = %d, want 409", second)
	}
	if want := []int{7, 0}; !slices.Equal(rates, want) {
		t.Errorf("sampling rates %v, want %v", rates, want)
	}
}
