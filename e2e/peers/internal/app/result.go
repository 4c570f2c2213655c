package app

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptrace"
	"time"
	"unicode/utf8"

	"keylend.dev/e2e/peers/internal/trace"
)

// A Result is what came of one call. Times are unix nanoseconds.
type Result struct {
	Number      uint64 `json:"number"`
	Start       int64  `json:"start"`      // taken just before the call began
	FirstByte   int64  `json:"first_byte"` // of the answer; 0 if there was none
	End         int64  `json:"end"`        // after the last byte of the answer
	Traceparent string `json:"traceparent"`
	TraceID     string `json:"trace_id"` // what stays of it on the way
	Reused      bool   `json:"reused"`   // of the connection to the sidecar

	Status     int         `json:"status"` // 0 if there was no answer
	Reason     string      `json:"reason,omitempty"`
	Refusal    string      `json:"refusal"` // the Keylend-Refusal header
	Headers    http.Header `json:"headers,omitempty"`
	Trailers   http.Header `json:"trailers,omitempty"`
	BodyLength int64       `json:"body_length"`
	BodySha256 string      `json:"body_sha256"`
	Body       string      `json:"body,omitempty"`        // if it is UTF-8
	BodyBase64 string      `json:"body_base64,omitempty"` // if it is not
	// Error says how the call failed, also while its answer was being read.
	Error string `json:"error,omitempty"`
}

// refusalHeader is where the sidecar names its refusal.
const refusalHeader = "Keylend-Refusal"

// do makes one call.
func (s *Spec) do(ctx context.Context, client *http.Client, number uint64) Result {
	ctx, cancel := context.WithTimeout(ctx, s.deadline())
	defer cancel()
	result := Result{Number: number}
	request, err := s.request(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn:              func(info httptrace.GotConnInfo) { result.Reused = info.Reused },
		GotFirstResponseByte: func() { result.FirstByte = time.Now().UnixNano() },
	}))
	if err != nil {
		result.Error = err.Error()
		return result
	}
	result.Traceparent = request.Header.Get("Traceparent")
	result.TraceID = trace.ID(result.Traceparent)
	result.Start = time.Now().UnixNano()
	response, err := client.Do(request)
	if err == nil {
		err = s.read(response, &result)
	}
	result.End = time.Now().UnixNano()
	if err != nil {
		result.Error = err.Error()
	}
	return result
}

func (s *Spec) read(response *http.Response, result *Result) error {
	defer response.Body.Close()
	result.Status, result.Reason = response.StatusCode, response.Status
	result.Refusal = response.Header.Get(refusalHeader)
	digest := sha256.New()
	var kept bytes.Buffer
	sink := io.Writer(digest)
	if s.IncludeBody {
		sink = io.MultiWriter(digest, &bounded{&kept, s.bodyLimit()})
	}
	var err error
	result.BodyLength, err = io.Copy(sink, response.Body)
	result.BodySha256 = hex.EncodeToString(digest.Sum(nil))
	result.Body, result.BodyBase64 = printable(kept.Bytes())
	if s.IncludeHeaders {
		result.Headers, result.Trailers = response.Header, response.Trailer
	}
	return err
}

// printable gives bytes as text if they are UTF-8, which JSON carries unchanged, and as base64 otherwise.
func printable(b []byte) (text, encoded string) {
	if utf8.Valid(b) {
		return string(b), ""
	}
	return "", base64.StdEncoding.EncodeToString(b)
}

// bounded keeps the first bytes and swallows the rest.
type bounded struct {
	kept *bytes.Buffer
	left int64
}

func (b *bounded) Write(p []byte) (int, error) {
	n := min(int64(len(p)), b.left)
	b.kept.Write(p[:n])
	b.left -= n
	return len(p), nil
}
