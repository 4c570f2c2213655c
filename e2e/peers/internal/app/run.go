package app

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// A Run is many calls.
type Run struct {
	Spec
	Count       uint64 `json:"count"`       // 1 unless told, without end if ForMs is given
	ForMs       int    `json:"for_ms"`      // no call begins later
	Concurrency int    `json:"concurrency"` // 1 unless told
	// Rate is how many calls begin each second, all together; as fast as they go unless told.
	Rate float64 `json:"rate"`
	// StopOnFirstRefusal begins no call after one was refused by the sidecar.
	StopOnFirstRefusal bool `json:"stop_on_first_refusal"`
	// Quiet leaves the single results out, and tells the summary only.
	Quiet bool `json:"quiet"`
}

const (
	mostCalls       = 2_000_000
	mostConcurrency = 1_000
	longestRun      = 15 * time.Minute
)

// A Summary is the last line of a run: without it, the results are not all there.
type Summary struct {
	Calls     uint64            `json:"calls"`
	ByStatus  map[string]uint64 `json:"by_status"`
	ByRefusal map[string]uint64 `json:"by_refusal"`
	Errors    uint64            `json:"errors"`
	ElapsedMs int64             `json:"elapsed_ms"`
	PerSecond float64           `json:"per_second"`
	// Latencies of calls that were answered, from start to end, in microseconds.
	P50 uint32 `json:"p50_us"`
	P90 uint32 `json:"p90_us"`
	P99 uint32 `json:"p99_us"`
	Max uint32 `json:"max_us"`
}

func (r *Run) complete() error {
	if r.Count == 0 && r.ForMs == 0 {
		r.Count = 1
	}
	if r.Count == 0 || r.Count > mostCalls {
		r.Count = mostCalls
	}
	r.Concurrency = max(r.Concurrency, 1)
	if r.Concurrency > mostConcurrency {
		return errors.New("concurrency is at most 1000")
	}
	if r.Rate < 0 || r.Rate > 1e6 {
		return errors.New("rate is out of range")
	}
	return r.check()
}

// carryOut makes the calls and hands each result over. Ending `begin` begins no more, ending ctx aborts those under
// way.
func (r *Run) carryOut(ctx, begin context.Context, hand func(Result)) error {
	client, err := r.client(r.Concurrency)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	length := longestRun
	if r.ForMs > 0 {
		length = min(time.Duration(r.ForMs)*time.Millisecond, longestRun)
	}
	begin, stop := context.WithTimeout(begin, length)
	defer stop()

	var number atomic.Uint64
	next := r.pace(begin)
	var workers sync.WaitGroup
	for range r.Concurrency {
		workers.Go(func() {
			for next() {
				n := number.Add(1)
				if n > r.Count {
					return
				}
				result := r.do(ctx, client, n)
				if result.Refusal != "" && r.StopOnFirstRefusal {
					stop()
				}
				hand(result)
			}
		})
	}
	workers.Wait()
	return nil
}

// pace gives a function that waits for a call's turn and says whether it may begin.
func (r *Run) pace(begin context.Context) func() bool {
	if r.Rate == 0 {
		return func() bool { return begin.Err() == nil }
	}
	var turn atomic.Int64
	started := time.Now()
	return func() bool {
		at := started.Add(time.Duration(float64(turn.Add(1)-1) / r.Rate * float64(time.Second)))
		select {
		case <-time.After(time.Until(at)):
			return begin.Err() == nil
		case <-begin.Done():
			return false
		}
	}
}

// tally sums results up.
type tally struct {
	Summary
	latencies []uint32
}

func newTally() *tally {
	return &tally{Summary: Summary{ByStatus: map[string]uint64{}, ByRefusal: map[string]uint64{}}}
}

func (t *tally) add(result Result) {
	t.Calls++
	if result.Error != "" {
		t.Errors++
	}
	if result.Status != 0 {
		t.ByStatus[strconv.Itoa(result.Status)]++
		t.latencies = append(t.latencies, uint32(min((result.End-result.Start)/1000, 1<<32-1)))
	}
	if result.Refusal != "" {
		t.ByRefusal[result.Refusal]++
	}
}

func (t *tally) sum(elapsed time.Duration) Summary {
	t.ElapsedMs = elapsed.Milliseconds()
	t.PerSecond = float64(t.Calls) / elapsed.Seconds()
	slices.Sort(t.latencies)
	at := func(share float64) uint32 {
		if len(t.latencies) == 0 {
			return 0
		}
		return t.latencies[int(share*float64(len(t.latencies)-1))]
	}
	t.P50, t.P90, t.P99, t.Max = at(0.5), at(0.9), at(0.99), at(1)
	return t.Summary
}

// postRun streams a line for each call, as they end, and the summary.
func (a *App) postRun(w http.ResponseWriter, r *http.Request) {
	var run Run
	if !take(w, r, &run) || !valid(w, run.complete()) {
		return
	}
	ctx, begin, done := a.running(r.Context())
	defer done()
	results := make(chan Result, 4096)
	failed := make(chan error, 1)
	started := time.Now()
	go func() {
		defer close(results)
		failed <- run.carryOut(ctx, begin, func(result Result) { results <- result })
	}()
	out := lines(w)
	tally := newTally()
	for result := range results {
		tally.add(result)
		if !run.Quiet {
			out.write(result, len(results) == 0)
		}
	}
	if err := <-failed; err != nil {
		out.write(map[string]string{"failed": err.Error()}, true)
		return
	}
	out.write(map[string]Summary{"summary": tally.sum(time.Since(started))}, true)
}

// lineWriter writes JSON lines, from one goroutine at a time or more.
type lineWriter struct {
	mu      sync.Mutex
	encoder *json.Encoder
	flush   func() error
}

func lines(w http.ResponseWriter) *lineWriter {
	w.Header().Set("Content-Type", "application/jsonl")
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return &lineWriter{encoder: encoder, flush: http.NewResponseController(w).Flush}
}

func (l *lineWriter) write(line any, flush bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.encoder.Encode(line)
	if flush {
		_ = l.flush()
	}
}
