package origin

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unique"

	"keylend.dev/e2e/peers/internal/trace"
)

// mostHits bounds how many hits are kept; older ones go first and are counted as dropped.
const mostHits = 200_000

// A Hit is one request head that arrived, and what came of it. The credential stands in it as a digest only.
type Hit struct {
	Number      uint64 `json:"number"`
	Time        int64  `json:"time"` // unix nanoseconds, when the head had arrived
	End         int64  `json:"end"`  // the same, when the answer was done; 0 while it is not
	Outcome     string `json:"outcome"`
	Traceparent string `json:"traceparent"`
	TraceID     string `json:"trace_id"`
	Method      string `json:"method"`
	Target      string `json:"target"`
	Protocol    string `json:"protocol"`
	Host        string `json:"host"`

	Authorization AuthorizationSeen `json:"authorization"`
	HeaderNames   []string          `json:"header_names"`
	Framing       string            `json:"framing"` // Transfer-Encoding, as received
	Body          BodySeen          `json:"body"`

	Connection          uint64 `json:"connection"`
	RequestOnConnection uint64 `json:"request_on_connection"`
	Remote              string `json:"remote"`
	SNI                 string `json:"sni"`
	TLS                 string `json:"tls"`
	Resumed             bool   `json:"resumed"`

	// Echoed counts the spellings of the credential that the answer held.
	Echoed int `json:"echoed"`
}

// AuthorizationSeen tells the credential header without holding it.
type AuthorizationSeen struct {
	Count    int    `json:"count"`    // how many such headers there were
	Sha256   string `json:"sha256"`   // of the first one's value; empty if there was none
	Expected bool   `json:"expected"` // exactly one, and it is the expected one
}

// BodySeen tells what was read of the request's body.
type BodySeen struct {
	Length int64  `json:"length"`
	Sha256 string `json:"sha256"`
	End    string `json:"end"` // "complete", "unread", or how reading it failed
}

// Outcomes of a hit.
const (
	inProgress = "in progress"
	answered   = "answered"
	clientLeft = "client went away"
	aborted    = "aborted by the origin"
)

// An Expectation says which header carries the credential, and the digest of the right value.
type Expectation struct {
	Header string `json:"header"`
	Sha256 string `json:"sha256"`
}

// Log keeps the hits, and the expectation they are measured by.
type Log struct {
	mu          sync.Mutex
	hits        []*Hit // a ring once full
	oldest      int
	next        uint64
	dropped     uint64
	total       uint64
	expected    uint64
	expectation Expectation
}

// Count sums the log up.
type Count struct {
	Hits     uint64 `json:"hits"`
	Expected uint64 `json:"expected"`
	Dropped  uint64 `json:"dropped"`
}

func newLog() *Log { return &Log{next: 1, expectation: Expectation{Header: "Authorization"}} }

func (l *Log) expect(e Expectation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expectation = e
}

func (l *Log) expectationNow() Expectation {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.expectation
}

// begin records a head that arrived.
func (l *Log) begin(r *http.Request, now time.Time) *Hit {
	hit := &Hit{
		Time:        now.UnixNano(),
		Outcome:     inProgress,
		Traceparent: r.Header.Get("Traceparent"),
		Method:      canonical(r.Method),
		Target:      canonical(r.RequestURI),
		Protocol:    canonical(r.Proto),
		Host:        canonical(r.Host),
		HeaderNames: headerNames(r.Header),
		Framing:     strings.Join(r.TransferEncoding, ", "),
		Body:        BodySeen{End: "unread"},
		Remote:      r.RemoteAddr,
	}
	hit.TraceID = trace.ID(hit.Traceparent)
	hit.onConnection(r)
	l.mu.Lock()
	defer l.mu.Unlock()
	hit.Authorization = l.expectation.seen(r.Header)
	hit.Number = l.next
	l.next++
	l.total++
	if hit.Authorization.Expected {
		l.expected++
	}
	if len(l.hits) < mostHits {
		l.hits = append(l.hits, hit)
	} else {
		l.hits[l.oldest] = hit
		l.oldest = (l.oldest + 1) % mostHits
		l.dropped++
	}
	return hit
}

// finish completes a hit.
func (l *Log) finish(hit *Hit, outcome string, body BodySeen, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	hit.Outcome, hit.Body, hit.End = outcome, body, now.UnixNano()
}

func (l *Log) echoed(hit *Hit, count int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	hit.Echoed += count
}

// list copies the hits that keep says yes to, oldest first.
func (l *Log) list(keep func(*Hit) bool) []Hit {
	l.mu.Lock()
	defer l.mu.Unlock()
	kept := []Hit{}
	for i := range l.hits {
		if hit := l.hits[(l.oldest+i)%len(l.hits)]; keep(hit) {
			kept = append(kept, *hit)
		}
	}
	return kept
}

func (l *Log) count() Count {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Count{l.total, l.expected, l.dropped}
}

// forget drops all hits. Numbers go on, so that an old one never means a new hit.
func (l *Log) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hits, l.oldest, l.total, l.expected, l.dropped = nil, 0, 0, 0, 0
}

func (e Expectation) seen(header http.Header) AuthorizationSeen {
	values := header.Values(e.Header)
	if len(values) == 0 {
		return AuthorizationSeen{}
	}
	digest := digestOf(values[0])
	return AuthorizationSeen{len(values), canonical(digest), len(values) == 1 && digest == e.Sha256}
}

func digestOf(text string) string {
	digest := sha256.Sum256([]byte(text))
	return hex.EncodeToString(digest[:])
}

// headerNames lists the names, sorted; a name that came n times ends in "*n".
func headerNames(header http.Header) []string {
	names := make([]string, 0, len(header))
	for name, values := range header {
		if len(values) > 1 {
			name = fmt.Sprintf("%s*%d", name, len(values))
		}
		names = append(names, canonical(name))
	}
	slices.Sort(names)
	return names
}

// canonical shares equal texts between hits, as most of what they hold repeats.
func canonical(text string) string { return unique.Make(text).Value() }
