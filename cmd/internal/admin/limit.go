package admin

import (
	"net/http"

	"golang.org/x/sync/semaphore"
)

// limitRequests answers at most n requests at a time and refuses others with
// status 503: a scrape formats every counter, which takes processor time from
// the event loops.
func limitRequests(n int64, next http.HandlerFunc) http.Handler {
	slots := semaphore.NewWeighted(n)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !slots.TryAcquire(1) {
			http.Error(w, "too many requests at a time", http.StatusServiceUnavailable)
			return
		}
		defer slots.Release(1)
		next(w, r)
	})
}
