package gateway

import (
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

func TestContentionProfile(t *testing.T) {
	var rates []int
	var second int
	p := &contentionProfile{name: "mutex", rate: 7}
	one := &oneAtATime{handler: p}
	p.setRate = func(rate int) {
		rates = append(rates, rate)
		if rate > 0 {
			w := httptest.NewRecorder()
			one.ServeHTTP(w, httptest.NewRequest("GET", "/debug/pprof/mutex", nil))
			second = w.Code
		}
	}
	w := httptest.NewRecorder()
	one.ServeHTTP(w, httptest.NewRequest("GET", "/debug/pprof/mutex?seconds=1", nil))
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

func TestProfilesAreShort(t *testing.T) {
	h := profileHandlers()
	for _, what := range []string{"profile", "trace", "heap", "mutex", "block", "goroutine"} {
		for _, seconds := range []string{"61", "86400", "-1", "0", "x", "NaN", "Inf", "1e9"} {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("GET", "/debug/pprof/"+what+"?seconds="+seconds, nil))
			if w.Code != 400 || !strings.Contains(w.Body.String(), "seconds") {
				t.Errorf("%s of %s s = %d %q, want 400 that names the field", what, seconds, w.Code, w.Body)
			}
		}
	}
}
