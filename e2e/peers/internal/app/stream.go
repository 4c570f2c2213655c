package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"time"

	"keylend.dev/e2e/peers/internal/trace"
)

// A Stream is one call whose pieces are told as they come.
type Stream struct {
	Spec
	// Upload sends the body in pieces over time, instead of a body of the Spec.
	Upload *Upload `json:"upload"`
}

// Upload is a body that comes slowly.
type Upload struct {
	Pieces  int `json:"pieces"`
	Size    int `json:"size"`
	EveryMs int `json:"every_ms"`
}

// An Event is one thing that happened to a streaming call: "begin", "sent" (a piece of the body), "head" (of the
// answer), "chunk" (of its body), "end".
type Event struct {
	Event   string      `json:"event"`
	Time    int64       `json:"time"` // unix nanoseconds
	TraceID string      `json:"trace_id,omitempty"`
	Status  int         `json:"status,omitempty"`
	Refusal string      `json:"refusal,omitempty"`
	Headers http.Header `json:"headers,omitempty"`
	Length  int64       `json:"length"` // of this piece, or of the whole body at the end
	Sha256  string      `json:"sha256,omitempty"`
	Text    string      `json:"text,omitempty"`
	Base64  string      `json:"base64,omitempty"`
	Error   string      `json:"error,omitempty"` // at the end: empty if the body came whole
}

func (s *Stream) complete() error {
	if u := s.Upload; u != nil {
		u.Pieces = min(max(u.Pieces, 1), 100_000)
		u.Size = min(max(u.Size, 1), 1<<20)
	}
	return s.check()
}

// postStream makes the call and tells each event as a line.
func (a *App) postStream(w http.ResponseWriter, r *http.Request) {
	var stream Stream
	if !take(w, r, &stream) || !valid(w, stream.complete()) {
		return
	}
	ctx, _, done := a.running(r.Context())
	defer done()
	out := lines(w)
	stream.carryOut(ctx, func(event Event) {
		event.Time = time.Now().UnixNano()
		out.write(event, true)
	})
}

func (s *Stream) carryOut(ctx context.Context, tell func(Event)) {
	ctx, cancel := context.WithTimeout(ctx, s.deadline())
	defer cancel()
	client, err := s.client(1)
	if err != nil {
		tell(Event{Event: "end", Error: err.Error()})
		return
	}
	defer client.CloseIdleConnections()
	request, err := s.request(ctx)
	if err != nil {
		tell(Event{Event: "end", Error: err.Error()})
		return
	}
	sent := make(chan struct{})
	if s.Upload != nil {
		reader, writer := io.Pipe()
		request.Body, request.ContentLength = reader, -1
		if !s.Chunked {
			request.ContentLength = int64(s.Upload.Pieces * s.Upload.Size)
		}
		go func() {
			defer close(sent)
			s.Upload.write(ctx, writer, tell)
		}()
	} else {
		close(sent)
	}
	tell(Event{Event: "begin", TraceID: trace.ID(request.Header.Get("Traceparent"))})
	end := s.receive(client, request, tell)
	cancel()
	<-sent
	tell(end)
}

func (s *Stream) receive(client *http.Client, request *http.Request, tell func(Event)) Event {
	response, err := client.Do(request)
	if err != nil {
		return Event{Event: "end", Error: err.Error()}
	}
	defer response.Body.Close()
	tell(Event{
		Event: "head", Status: response.StatusCode, Refusal: response.Header.Get(refusalHeader), Headers: response.Header,
	})
	digest, buffer := sha256.New(), make([]byte, 64<<10)
	var total int64
	for {
		n, err := response.Body.Read(buffer)
		total += int64(n)
		digest.Write(buffer[:n])
		if n > 0 {
			chunk := Event{Event: "chunk", Length: int64(n)}
			if s.IncludeBody {
				chunk.Text, chunk.Base64 = printable(buffer[:n])
			}
			tell(chunk)
		}
		if err != nil {
			end := Event{Event: "end", Length: total, Sha256: hex.EncodeToString(digest.Sum(nil)), Headers: response.Trailer}
			if err != io.EOF {
				end.Error = err.Error()
			}
			return end
		}
	}
}

func (u *Upload) write(ctx context.Context, body *io.PipeWriter, tell func(Event)) {
	defer body.Close()
	piece := make([]byte, u.Size)
	_, _ = (&filler{}).Read(piece)
	for range u.Pieces {
		n, err := body.Write(piece)
		tell(Event{Event: "sent", Length: int64(n)})
		if err != nil {
			return
		}
		select {
		case <-time.After(time.Duration(u.EveryMs) * time.Millisecond):
		case <-ctx.Done():
			body.CloseWithError(ctx.Err())
			return
		}
	}
}
