package origin

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// controlHandler answers the test: what was seen, what to expect.
func (o *Origin) controlHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /hits", o.getHits)
	mux.HandleFunc("DELETE /hits", func(w http.ResponseWriter, _ *http.Request) {
		o.log.forget()
		o.connections.forget()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /count", o.getCount)
	mux.HandleFunc("GET /connections", func(w http.ResponseWriter, _ *http.Request) { answer(w, o.connections.list()) })
	mux.HandleFunc("POST /expect", o.postExpect)
	mux.HandleFunc("GET /ca.pem", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(o.authority) })
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, "ok") })
	return mux
}

// getHits lists hits: `?since=NUMBER` those after that number, `?trace=ID` those whose traceparent holds it,
// `?path=PREFIX` by target, `?connection=ID`.
func (o *Origin) getHits(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	since := number(query.Get("since"))
	connection := number(query.Get("connection"))
	hits := o.log.list(func(hit *Hit) bool {
		return hit.Number > since &&
			strings.Contains(hit.Traceparent, query.Get("trace")) &&
			strings.HasPrefix(hit.Target, query.Get("path")) &&
			(connection == 0 || hit.Connection == connection)
	})
	// One by one: encoded in one piece, a full log would take hundreds of megabytes.
	w.Header().Set("Content-Type", "application/json")
	encoder, separator := json.NewEncoder(w), "["
	for _, hit := range hits {
		_, _ = io.WriteString(w, separator)
		_ = encoder.Encode(hit)
		separator = ","
	}
	if len(hits) == 0 {
		_, _ = io.WriteString(w, separator)
	}
	_, _ = io.WriteString(w, "]\n")
}

// getCount sums up; `?at_least=N&wait_ms=M` waits until there are N hits, at most that long.
func (o *Origin) getCount(w http.ResponseWriter, r *http.Request) {
	atLeast := number(r.URL.Query().Get("at_least"))
	wait := min(number(r.URL.Query().Get("wait_ms")), 60_000)
	until := time.Now().Add(time.Duration(wait) * time.Millisecond)
	for o.log.count().Hits < atLeast && time.Now().Before(until) && r.Context().Err() == nil {
		time.Sleep(2 * time.Millisecond)
	}
	accepted, open := o.connections.count()
	answer(w, struct {
		Count
		Accepted uint64 `json:"connections_accepted"`
		Open     int    `json:"connections_open"`
	}{o.log.count(), accepted, open})
}

// postExpect takes {"authorization": VALUE} or {"sha256": DIGEST}, and optionally {"header": NAME}.
func (o *Origin) postExpect(w http.ResponseWriter, r *http.Request) {
	var wanted struct{ Authorization, Sha256, Header string }
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&wanted); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if wanted.Authorization != "" {
		wanted.Sha256 = digestOf(wanted.Authorization)
	}
	if wanted.Header == "" {
		wanted.Header = "Authorization"
	}
	o.log.expect(Expectation{Header: wanted.Header, Sha256: wanted.Sha256})
	answer(w, o.log.expectationNow())
}

// number reads a count; what is none counts as zero, which asks for nothing.
func number(text string) uint64 {
	n, _ := strconv.ParseUint(text, 10, 64)
	return n
}

func answer(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body)
}
