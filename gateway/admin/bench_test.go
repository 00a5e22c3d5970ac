package admin

import (
	"fmt"
	"io"
	"net/http"
	"runtime"
	"testing"
)

// BenchmarkImport imports 100,000 rows a time over HTTP, 128 B of body each, in
// conversations of 100: first new ones, then the same again. -benchtime 10x makes
// it a million. The heap is the largest one after an import, with all that the
// store holds.
func BenchmarkImport(b *testing.B) {
	const rows, perConversation = 100_000, 100
	for _, again := range []bool{false, true} {
		b.Run(map[bool]string{false: "new", true: "again"}[again], func(b *testing.B) {
			s := newServer(b, nil)
			stream := func(n int) io.Reader {
				r, w := io.Pipe()
				go func() {
					start := s.store.Now() - 3600_000
					for i := range rows {
						c := i / perConversation
						_, err := fmt.Fprintf(w, `{"from":"u%d-%d","to":"u:u%d-%d","time":%d,"body":"%0120d"}`+"\n", n, c, n, c+1, start+int64(i), i)
						if err != nil {
							return
						}
					}
					w.Close()
				}()
				return r
			}
			do := func(n int) {
				r, err := http.NewRequestWithContext(b.Context(), "POST", fmt.Sprintf("%s/v1/import?stream=s%d", s.http.URL, n), stream(n))
				if err != nil {
					b.Fatal(err)
				}
				r.Header.Set("Authorization", "Bearer "+writeToken)
				if resp, text := s.do(r); resp.StatusCode != 200 {
					b.Fatalf("%d %s", resp.StatusCode, text)
				}
			}
			if again {
				do(0)
			}
			n, peak := 0, uint64(0)
			for b.Loop() {
				do(n)
				if !again {
					n++
				}
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				peak = max(peak, m.HeapAlloc)
			}
			b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
			b.ReportMetric(float64(peak)/(1<<20), "MiB-heap")
			b.ReportMetric(0, "ns/op")
		})
	}
}
