package origin

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// call is one request being answered.
type call struct {
	*Origin
	hit  *Hit
	w    http.ResponseWriter
	r    *http.Request
	body *readBody
}

// A behaviour answers the paths under its name. One that reads the body itself decides when; for the others it has
// been read whole.
type behaviour struct {
	reads  reading
	answer func(*call)
}

type reading int

const (
	before reading = iota
	itself
)

var behaviours = map[string]behaviour{
	"ok":           {before, (*call).ok},
	"v1":           {before, (*call).charge},
	"echo":         {before, (*call).echo},
	"echo-encoded": {before, (*call).echoEncoded},
	"upload":       {before, (*call).upload},
	"status":       {before, (*call).status},
	"redirect":     {before, (*call).redirect},
	"cookies":      {before, (*call).cookies},
	"encoding":     {before, (*call).encoding},
	"alt-svc":      {before, (*call).altSvc},
	"headers":      {before, (*call).headers},
	"trailers":     {before, (*call).trailers},
	"bytes":        {before, (*call).bytes},
	"close":        {before, (*call).close},
	"slow":         {before, (*call).slow},
	"hints":        {before, (*call).hints},
	"stream":       {itself, (*call).stream},
	"duplex":       {itself, (*call).duplex},
	"early":        {itself, (*call).early},
	"cut":          {before, (*call).cut},
	"hang":         {before, (*call).hang},
	"switch":       {itself, (*call).switchProtocols},
}

// ServeHTTP records the head, answers by the first segment of the path, and records how it ended.
func (o *Origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := &readBody{inner: r.Body, digest: sha256.New()}
	// In a copy: the server looks at its own request's body to tell whether the connection is at its end of it.
	r = r.WithContext(r.Context())
	r.Body = body
	c := &call{Origin: o, hit: o.log.begin(r, time.Now()), w: w, r: r, body: body}
	outcome := aborted
	defer func() { o.log.finish(c.hit, outcome, body.seen(), time.Now()) }()

	name, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	chosen, known := behaviours[name]
	if !known {
		chosen = behaviour{before, (*call).unknown}
	}
	if chosen.reads == before {
		_, _ = io.Copy(io.Discard, r.Body)
	}
	chosen.answer(c)
	outcome = answered
	if r.Context().Err() != nil {
		outcome = clientLeft
	}
}

// readBody digests what is read of a body.
type readBody struct {
	inner  io.ReadCloser
	digest hash.Hash
	length int64
	end    string
}

func (b *readBody) Read(p []byte) (int, error) {
	n, err := b.inner.Read(p)
	b.digest.Write(p[:n])
	b.length += int64(n)
	if errors.Is(err, io.EOF) {
		b.end = "complete"
	} else if err != nil {
		b.end = err.Error()
	}
	return n, err
}

func (b *readBody) Close() error { return b.inner.Close() }

func (b *readBody) seen() BodySeen {
	end := b.end
	if end == "" {
		end = "unread"
	}
	return BodySeen{b.length, canonical(hex.EncodeToString(b.digest.Sum(nil))), end}
}

// text is a parameter of the query.
func (c *call) text(name, otherwise string) string {
	if value := c.r.URL.Query().Get(name); value != "" {
		return value
	}
	return otherwise
}

// count is a number of the query, at most `most`.
func (c *call) count(name string, otherwise, most int) int {
	n, err := strconv.Atoi(c.text(name, ""))
	if err != nil || n < 0 {
		return otherwise
	}
	return min(n, most)
}

// span is a duration of the query ("50ms"), at most ten minutes.
func (c *call) span(name string, otherwise time.Duration) time.Duration {
	d, err := time.ParseDuration(c.text(name, ""))
	if err != nil || d < 0 {
		return otherwise
	}
	return min(d, 10*time.Minute)
}

func (c *call) json(status int, body string) {
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(status)
	_, _ = io.WriteString(c.w, body+"\n")
}

func (c *call) unknown() { c.json(http.StatusNotFound, `{"error":"no such behaviour"}`) }

func (c *call) ok() {
	c.json(http.StatusOK, fmt.Sprintf(`{"ok":true,"authorized":%t}`, c.hit.Authorization.Expected))
}

// charge is the payment service of the examples: it serves who shows the expected credential.
func (c *call) charge() {
	if !c.hit.Authorization.Expected {
		c.json(http.StatusUnauthorized, `{"error":"invalid API key"}`)
		return
	}
	c.json(http.StatusOK, `{"id":"ch_test_1","amount":4200,"currency":"eur","paid":true}`)
}

func (c *call) upload() {
	seen := c.body.seen()
	c.json(http.StatusOK, fmt.Sprintf(`{"length":%d,"sha256":%q}`, seen.Length, seen.Sha256))
}

func (c *call) status() {
	code, err := strconv.Atoi(strings.TrimPrefix(c.r.URL.Path, "/status/"))
	if err != nil || code < 200 || code > 999 {
		c.unknown()
		return
	}
	c.w.WriteHeader(code)
	if code != http.StatusNoContent && code != http.StatusNotModified {
		_, _ = fmt.Fprintf(c.w, "{\"status\":%d}\n", code)
	}
}

func (c *call) redirect() {
	c.w.Header().Set("Location", c.text("to", "/ok"))
	c.w.WriteHeader(c.count("code", http.StatusFound, 399))
}

func (c *call) cookies() {
	for i := range c.count("n", 3, 50) {
		http.SetCookie(c.w, &http.Cookie{Name: fmt.Sprintf("kl-test-%d", i), Value: "v", Path: "/", Secure: true})
	}
	c.ok()
}

func (c *call) altSvc() {
	c.w.Header().Set("Alt-Svc", `h3=":443"; ma=86400, h2="elsewhere.test:443"`)
	c.ok()
}

// encoding answers in the coding the path names, asked for or not. The body holds the credential.
// `gzip`, `deflate` and `double` are true; `lie` says gzip and is not; every other name is just claimed.
func (c *call) encoding() {
	name := strings.TrimPrefix(c.r.URL.Path, "/encoding/")
	var body bytes.Buffer
	gz := gzip.NewWriter(&body)
	fl, _ := flate.NewWriter(&body, flate.DefaultCompression)
	label := name
	switch name {
	case "gzip":
		_, _ = gz.Write(c.echoText())
		_ = gz.Close()
	case "double":
		var inner bytes.Buffer
		first := gzip.NewWriter(&inner)
		_, _ = first.Write(c.echoText())
		_ = first.Close()
		_, _ = gz.Write(inner.Bytes())
		_ = gz.Close()
		label = "gzip, gzip"
	case "deflate":
		_, _ = fl.Write(c.echoText())
		_ = fl.Close()
	case "lie":
		body.Write(c.echoText())
		label = "gzip"
	default:
		body.Write(c.echoText())
	}
	c.w.Header().Set("Content-Encoding", label)
	_, _ = c.w.Write(body.Bytes())
}

// echoText is a body that a compressed answer hides.
func (c *call) echoText() []byte {
	value := c.credential()
	if len(value) > 0 {
		c.log.echoed(c.hit, 1)
	}
	return append([]byte("you sent "), value...)
}

// headers answers with `n` headers of `size` bytes.
func (c *call) headers() {
	size := c.count("size", 10, 1<<20)
	for i := range c.count("n", 10, 10_000) {
		c.w.Header().Set(fmt.Sprintf("X-Filler-%d", i), strings.Repeat("f", size))
	}
	c.ok()
}

func (c *call) trailers() {
	c.w.Header().Set("Trailer", "X-Announced")
	c.ok()
	c.w.Header().Set("X-Announced", "kl-test")
	c.w.Header().Set(http.TrailerPrefix+"X-Unannounced", "kl-test")
}

// bytes answers with `n` bytes of a fixed pattern, with their length, or `chunked=1` without.
func (c *call) bytes() {
	n := c.count("n", 1024, 1<<30)
	c.w.Header().Set("Content-Type", "application/octet-stream")
	if c.text("chunked", "") == "" {
		c.w.Header().Set("Content-Length", strconv.Itoa(n))
	}
	_, _ = io.Copy(c.w, io.LimitReader(&pattern{}, int64(n)))
}

// pattern is an endless "0123456789abcdef…", so that a lost or doubled byte shows in a digest.
type pattern struct{ at int }

func (p *pattern) Read(out []byte) (int, error) {
	for i := range out {
		out[i] = "0123456789abcdef\n"[p.at%17]
		p.at++
	}
	return len(out), nil
}

// close answers and closes the connection.
func (c *call) close() {
	c.w.Header().Set("Connection", "close")
	c.ok()
}
