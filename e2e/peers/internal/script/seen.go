package script

import (
	"bufio"
	"bytes"
	"io"
	"net/http"

	"keylend.dev/e2e/peers/internal/trace"
)

// Seen is what the test reads of a connection.
type Seen struct {
	ID       uint64 `json:"id"`
	Remote   string `json:"remote"`
	SNI      string `json:"sni"`
	Accepted int64  `json:"accepted"` // unix nanoseconds
	Closed   int64  `json:"closed"`   // by us; 0 while open
	Length   int    `json:"length"`
	Received []byte `json:"received"` // base64 in JSON
	Sent     int    `json:"sent"`
	Ended    string `json:"ended"`
	Script   string `json:"script"`
	// Heads lists the request heads in what was received, and Rest how many bytes after them are part of none.
	Heads []Head `json:"heads"`
	Rest  int    `json:"rest"`
}

// A Head is one request head.
type Head struct {
	Method     string `json:"method"`
	Target     string `json:"target"`
	TraceID    string `json:"trace_id"`
	BodyLength int64  `json:"body_length"`
	Complete   bool   `json:"complete"` // the whole body came too
}

func (c *connection) seen() Seen {
	c.mu.Lock()
	defer c.mu.Unlock()
	heads, rest := headsOf(c.received)
	seen := Seen{
		ID: c.id, Remote: c.remote, SNI: c.sni, Accepted: c.accepted.UnixNano(), Length: c.length,
		Received: bytes.Clone(c.received), Sent: c.sent, Ended: c.ended, Script: c.done, Heads: heads, Rest: rest,
	}
	if !c.closed.IsZero() {
		seen.Closed = c.closed.UnixNano()
	}
	return seen
}

// headsOf reads what was received as requests, as far as it can be read so.
func headsOf(received []byte) (heads []Head, rest int) {
	heads = []Head{}
	source := bytes.NewReader(received)
	reader := bufio.NewReader(source)
	for {
		rest = source.Len() + reader.Buffered()
		request, err := http.ReadRequest(reader)
		if err != nil {
			return heads, rest
		}
		length, err := io.Copy(io.Discard, request.Body)
		heads = append(heads, Head{
			request.Method, request.RequestURI, trace.ID(request.Header.Get("Traceparent")), length, err == nil,
		})
	}
}
