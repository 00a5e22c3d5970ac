package main

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// While the store is being opened the process is alive, and nothing else is served.
func TestServeWhileStarting(t *testing.T) {
	var h lateHandler
	ask := func(path string) int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code
	}
	for path, want := range map[string]int{
		"/healthz": http.StatusOK, "/readyz": http.StatusServiceUnavailable, "/metrics": http.StatusServiceUnavailable,
		"/v1/users": http.StatusServiceUnavailable,
	} {
		if got := ask(path); got != want {
			t.Errorf("%s = %d, want %d", path, got, want)
		}
	}
	h.set(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	if got := ask("/readyz"); got != http.StatusTeapot {
		t.Errorf("/readyz = %d after the start, want what it was set to", got)
	}
}
