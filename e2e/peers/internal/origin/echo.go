package origin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"keylend.dev/e2e/peers/internal/spelling"
)

// credential is the value received in the expected header (or `?header=`), without a scheme before it.
func (c *call) credential() []byte {
	received := c.r.Header.Get(c.text("header", c.log.expectationNow().Header))
	if c.text("whole", "") != "" {
		return []byte(received)
	}
	for _, scheme := range []string{"Bearer ", "Basic ", "Token "} {
		if value, has := strings.CutPrefix(received, scheme); has {
			return []byte(value)
		}
	}
	return []byte(received)
}

// echo sends every request header back in headers, trailers and a JSON body, as they came.
func (c *call) echo() {
	for name, values := range c.r.Header {
		for _, value := range values {
			c.w.Header().Add("X-Echo-"+name, value)
		}
	}
	if len(c.credential()) > 0 {
		c.log.echoed(c.hit, 3)
	}
	c.w.Header().Set("Content-Type", "application/json")
	c.flush()
	_ = json.NewEncoder(c.w).Encode(map[string]any{
		"method": c.r.Method, "target": c.r.RequestURI, "host": c.r.Host, "headers": c.r.Header,
	})
	for name, values := range c.r.Header {
		c.w.Header().Set(http.TrailerPrefix+"X-Trailer-"+name, strings.Join(values, ", "))
	}
}

// reflection is the credential in every spelling asked for, in every place asked for.
type reflection struct {
	reason  string
	headers [][2]string
	body    []byte
	// trailers go only with a chunked body.
	trailers [][2]string
	count    int
}

// echoEncoded sends the credential back: `enc` names the spellings (all), `in` the places (headers,body,trailers;
// also reason, for which the answer is written by hand, as with `by=hand`), `length=known` gives a Content-Length
// (and no trailers), `split=N` sends pieces of N bytes, `at=K` two pieces, `pause` waits between them. By hand, the
// split falls anywhere in the answer as it is on the wire; otherwise within the body.
func (c *call) echoEncoded() {
	value := c.credential()
	spellings, err := spelling.Named(c.text("enc", ""))
	if err != nil || len(value) == 0 {
		c.json(http.StatusBadRequest, fmt.Sprintf(`{"error":%q}`, fmt.Sprintf("nothing to echo: %d bytes, %v", len(value), err)))
		return
	}
	places := "," + c.text("in", "headers,body,trailers") + ","
	known := c.text("length", "") == "known"
	echo := reflect(value, spellings, func(place string) bool { return strings.Contains(places, ","+place+",") })
	if known {
		echo.count -= len(echo.trailers)
		echo.trailers = nil
	}
	c.log.echoed(c.hit, echo.count)
	if echo.reason != "" || c.text("by", "") == "hand" {
		c.byHand(echo.wire(known))
		return
	}
	c.byServer(echo, known)
}

func reflect(value []byte, spellings []spelling.Spelling, in func(place string) bool) reflection {
	var echo reflection
	var body bytes.Buffer
	for _, s := range spellings {
		written := s.Write(value)
		if in("body") {
			fmt.Fprintf(&body, "%s: %s\n", s.Name, written)
			echo.count++
		}
		if s.Place == spelling.BodyOnly {
			continue
		}
		if in("headers") {
			echo.headers = append(echo.headers, [2]string{"X-Echo-" + s.Name, string(written)})
			echo.count++
		}
		if in("trailers") {
			echo.trailers = append(echo.trailers, [2]string{"X-Trailer-" + s.Name, string(written)})
			echo.count++
		}
		if in("reason") {
			echo.reason += " " + string(written)
			echo.count++
		}
	}
	echo.body = body.Bytes()
	return echo
}

func (c *call) byServer(echo reflection, knownLength bool) {
	c.w.Header().Set("Content-Type", "text/plain")
	for _, header := range echo.headers {
		c.w.Header().Set(header[0], header[1])
	}
	if knownLength {
		c.w.Header().Set("Content-Length", strconv.Itoa(len(echo.body)))
	}
	c.flush()
	c.inPieces(c.w, echo.body, c.flush)
	for _, trailer := range echo.trailers {
		c.w.Header().Set(http.TrailerPrefix+trailer[0], trailer[1])
	}
}

// wire is the whole answer as bytes.
func (e reflection) wire(knownLength bool) []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, "HTTP/1.1 200 OK%s\r\nContent-Type: text/plain\r\nConnection: close\r\n", e.reason)
	for _, header := range e.headers {
		fmt.Fprintf(&out, "%s: %s\r\n", header[0], header[1])
	}
	if knownLength {
		fmt.Fprintf(&out, "Content-Length: %d\r\n\r\n%s", len(e.body), e.body)
		return out.Bytes()
	}
	out.WriteString("Transfer-Encoding: chunked\r\n\r\n")
	if len(e.body) > 0 {
		fmt.Fprintf(&out, "%x\r\n%s\r\n", len(e.body), e.body)
	}
	out.WriteString("0\r\n")
	for _, trailer := range e.trailers {
		fmt.Fprintf(&out, "%s: %s\r\n", trailer[0], trailer[1])
	}
	out.WriteString("\r\n")
	return out.Bytes()
}

func (c *call) byHand(wire []byte) {
	conn, _, err := http.NewResponseController(c.w).Hijack()
	if err != nil {
		c.json(http.StatusInternalServerError, `{"error":"this connection cannot be written by hand"}`)
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	c.inPieces(conn, wire, func() {})
}

// inPieces writes `text` as the query's `split`, `at` and `pause` say.
func (c *call) inPieces(w io.Writer, text []byte, flush func()) {
	size, first := c.count("split", 0, 1<<30), c.count("at", 0, 1<<30)
	for len(text) > 0 {
		piece := len(text)
		if size > 0 {
			piece = min(size, piece)
		}
		if first > 0 {
			piece, first = min(first, piece), 0
		}
		if _, err := w.Write(text[:piece]); err != nil {
			return
		}
		flush()
		text = text[piece:]
		if len(text) > 0 {
			time.Sleep(c.span("pause", 0))
		}
	}
}
